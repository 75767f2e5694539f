"""``deblurrt train`` from folders of pictures to a model that runs."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.artifacts import open_onnx
from deblurrt.core.pictures import write_picture
from deblurrt.datasets import opencv
from deblurrt.runtime import BackendConfig, SessionConfig, open_session

Deblurrt = Callable[..., int]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two stills large enough for a crop and its margin, and a real pair."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for index in range(2):
        noise = np.random.default_rng(index).integers(0, 256, (60, 64, 3), dtype=np.uint8)
        write_picture(folder / f"still_{index}.png", opencv.enlarge(noise, (360, 384)))
    (folder / "pair").mkdir()
    sharp = opencv.enlarge(noise, (64, 96))
    write_picture(folder / "pair" / "sharp.png", sharp)
    write_picture(folder / "pair" / "blur.png", opencv.smooth(sharp.astype(np.float32), 1.5).astype(np.uint8))
    return folder


def test_training_writes_weights_and_a_model_that_runs(deblurrt: Deblurrt, photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train = ("train", "student-xs", "--data", photographs, "-o", folder, "--crops", 20, "--threads", 1)
    assert deblurrt(*train, "--hours", 0.0005) == 0
    origin = open_onnx(folder / "fast.onnx").provenance
    assert origin["recipe"] == "student-xs"
    assert set(json.loads((folder / "scores.json").read_text())["gain_db"]) == {"pair"}
    config = SessionConfig(backend="onnxruntime", options=BackendConfig(threads=1))
    with open_session(folder / "fast.onnx", config) as session:
        assert session.restore(np.zeros((20, 30, 3), np.uint8)).shape == (20, 30, 3)
    steps = origin["trained"]["steps"]
    assert deblurrt(*train, "--hours", 0.001, "--resume") == 0
    assert open_onnx(folder / "fast.onnx").provenance["trained"]["steps"] > steps


def test_finished_run_is_not_overwritten(
    deblurrt: Deblurrt, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state.pt").write_text("a run")
    assert deblurrt("train", "student-s", "--data", photographs, "-o", tmp_path) == 7
    assert "--resume" in capsys.readouterr().err


def test_missing_torch_names_the_extra(
    deblurrt: Deblurrt,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import_module = importlib.import_module

    def without_torch(name: str, package: str | None = None) -> object:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return import_module(name, package)

    monkeypatch.setattr("deblurrt.core.optional.importlib.import_module", without_torch)
    assert deblurrt("train", "student-s", "--data", photographs, "-o", tmp_path / "run") == 5
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "error: torch is needed to train a network and is not installed; install it: pip install 'deblurrt[train]'"
    ]


def test_missing_data_folder_is_one_line(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt("train", "student-s", "--data", tmp_path / "none", "-o", tmp_path / "run") == 6
    assert "no data folder" in capsys.readouterr().err
