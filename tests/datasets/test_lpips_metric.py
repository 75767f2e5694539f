"""LPIPS through a stand-in of its package: weights are looked for, never downloaded."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from deblurrt.core.errors import MissingExtraError
from deblurrt.datasets.lpips_metric import open_lpips

URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"


class FakeNetwork:
    """Mean of absolute differences; remembers how it was made."""

    made: list[tuple[str, str, bool]]

    def __init__(self, net: str, version: str, verbose: bool) -> None:
        warnings.warn("The parameter 'pretrained' is deprecated", UserWarning, stacklevel=2)
        FakeNetwork.made.append((net, version, verbose))

    def eval(self) -> FakeNetwork:
        return self

    def __call__(self, restored: torch.Tensor, sharp: torch.Tensor) -> torch.Tensor:
        assert restored.shape == sharp.shape == (1, 3, 4, 6)
        assert torch.is_inference_mode_enabled()
        assert max(restored.max(), sharp.max()) <= 1
        assert min(restored.min(), sharp.min()) >= -1
        return (restored - sharp).abs().mean().reshape(1, 1, 1, 1)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The two files of weights, which exist."""
    files = [tmp_path / "lpips" / "weights" / "v0.1" / "alex.pth"]
    files.append(tmp_path / "torch" / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth")
    for path in files:
        path.parent.mkdir(parents=True)
        path.touch()
    FakeNetwork.made = []
    package, torchvision, models = ModuleType("lpips"), ModuleType("torchvision"), ModuleType("torchvision.models")
    package.__file__ = str(tmp_path / "lpips" / "__init__.py")
    vars(package)["LPIPS"] = FakeNetwork
    vars(models)["AlexNet_Weights"] = SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=URL))
    for name, module in (("lpips", package), ("torchvision", torchvision), ("torchvision.models", models)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return files


def test_alexnet_of_version_0_1_is_opened(places: list[Path]) -> None:
    open_lpips()
    assert FakeNetwork.made == [("alex", "0.1", False)]


def test_pictures_are_given_from_minus_one_to_one(places: list[Path]) -> None:
    measure = open_lpips()
    black = np.zeros((4, 6, 3), np.uint8)
    assert measure(black, ~black) == 2.0
    assert measure(black, black) == 0.0


@pytest.mark.parametrize("missing", [0, 1])
def test_missing_weights_are_named_before_anything_is_made(places: list[Path], missing: int) -> None:
    places[missing].unlink()
    with pytest.raises(MissingExtraError, match=f"needs the weights {places[missing].name}") as caught:
        open_lpips()
    assert str(places[missing].parent) in str(caught.value)
    assert FakeNetwork.made == []


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(MissingExtraError, match=r"needed to measure LPIPS .*deblurrt\[lpips\]"):
        open_lpips()
