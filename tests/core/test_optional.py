from __future__ import annotations

import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

from deblurrt.core.errors import MissingExtraError
from deblurrt.core.optional import EXTRA_OF_MODULE, require


def test_installed_module_is_returned() -> None:
    assert require("json.decoder", purpose="read") is sys.modules["json.decoder"]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        (
            "torch.nn.functional",
            "torch is needed to train and is not installed; install it: pip install 'deblurrt[train]'",
        ),
        (
            "cuda.bindings.runtime",
            "cuda is needed to train and is not installed; install it: pip install 'deblurrt[gpu]'",
        ),
        ("openvino", "openvino is needed to train and is not installed; install it: pip install 'deblurrt[cpu]'"),
        ("av", "av is needed to train and is not installed; install it: pip install --force-reinstall deblurrt"),
        (
            "no_such_module",
            "no_such_module is needed to train and is not installed; install it: pip install no_such_module",
        ),
    ],
)
def test_missing_module_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
) -> None:
    for part in (name, name.partition(".")[0]):
        monkeypatch.setitem(sys.modules, part, None)
    with pytest.raises(MissingExtraError) as caught:
        require(name, purpose="train")
    assert str(caught.value) == remedy
    assert isinstance(caught.value.__cause__, ImportError)


def test_module_whose_library_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "half_installed.py").write_text("raise ImportError('libhalf.so.1: cannot open')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtraError) as caught:
        require("half_installed", purpose="decode")
    assert str(caught.value) == (
        "half_installed is needed to decode and does not load (libhalf.so.1: cannot open); "
        "reinstall it: pip install half_installed"
    )


def test_module_that_lacks_another_one_says_which(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "needs_more.py").write_text("import not_there_either")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"does not load \(No module named 'not_there_either'\)"):
        require("needs_more", purpose="decode")


def test_every_extra_named_is_one_of_the_package() -> None:
    extras = metadata("deblurrt").get_all("Provides-Extra") or []
    assert set(filter(None, EXTRA_OF_MODULE.values())) <= set(extras)
