"""``deblurrt eval``: scores, JSON, gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.pictures import write_picture
from deblurrt.datasets import opencv

Deblurrt = Callable[..., int]
OPTIONS = ("--backend", "onnxruntime", "--threads", "1")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two frames of noise and its smoothed form."""
    for folder in ("blur", "sharp"):
        (tmp_path / "pairs" / folder).mkdir(parents=True)
    for index in range(2):
        sharp = np.random.default_rng(index).integers(0, 256, (80, 96, 3), dtype=np.uint8)
        blurred = np.rint(opencv.smooth(sharp.astype(np.float32), 1.0)).astype(np.uint8)
        write_picture(tmp_path / "pairs" / "sharp" / f"{index:08d}.png", sharp)
        write_picture(tmp_path / "pairs" / "blur" / f"{index:08d}.png", blurred)
    return tmp_path / "pairs"


def test_identity_scores_what_the_input_scores(
    deblurrt: Deblurrt, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt("eval", "identity", "--data", pairs, *OPTIONS, "--json", "-") == 0
    result = json.loads(capsys.readouterr().out)
    assert next(iter(result)) == "psnr_db"
    assert result["psnr_db"] == result["psnr_input_db"]
    assert (result["gain_db"], result["frames"], len(result["sequences"])) == (0.0, 2, 1)


def test_total_is_the_mean_of_per_frame_values(
    deblurrt: Deblurrt, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt("eval", "fast", "--data", pairs, *OPTIONS, "--json", tmp_path / "scores.json") == 0
    result = json.loads((tmp_path / "scores.json").read_text())
    frames = result["sequences"][0]["frames"]
    assert result["psnr_db"] == pytest.approx(np.mean([frame["psnr_db"] for frame in frames.values()]), abs=1e-4)
    assert f"{result['psnr_db']:.2f}" in capsys.readouterr().out


def test_exact_pictures_count_as_100_db(deblurrt: Deblurrt, pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (pairs / "sharp").iterdir():
        (pairs / "blur" / path.name).write_bytes(path.read_bytes())
    assert deblurrt("eval", "identity", "--data", pairs, *OPTIONS, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["psnr_db"] == 100.0


def test_missed_quality_gate_names_the_demand(
    deblurrt: Deblurrt, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt("eval", "identity", "--data", pairs, *OPTIONS, "--quality-gate", "1", "--json", "-") == 3
    shown = capsys.readouterr()
    assert "mean gain, dB is 0, limit 1" in shown.err
    assert json.loads(shown.out)["quality_gate"][0]["passed"] is False


def test_folder_without_pairs_says_what_was_expected(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    assert deblurrt("eval", "identity", "--data", tmp_path, *OPTIONS) == 6
    assert "expected blur/ beside sharp/" in capsys.readouterr().err


@pytest.mark.data
def test_doing_nothing_on_reds_scores_the_known_figure(
    deblurrt: Deblurrt, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt("eval", "identity", "--data", data_root / "pairs" / "reds_seq000", *OPTIONS, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["psnr_db"] == pytest.approx(21.95, abs=0.005)
