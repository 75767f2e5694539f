"""The cache's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from deblurrt.core.caches import cache_folder
from deblurrt.core.errors import OutputError


def test_cache_lies_where_xdg_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("eval") == tmp_path / "deblurrt" / "eval"
    assert cache_folder("eval").is_dir()


@pytest.mark.parametrize("value", ["", "relative/folder"])
def test_cache_lies_in_the_home_folder_otherwise(value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("onnx") == tmp_path / ".cache" / "deblurrt" / "onnx"


def test_folder_that_cannot_be_made_is_an_output_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "deblurrt").write_text("a file in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(OutputError, match="set XDG_CACHE_HOME"):
        cache_folder("eval")
