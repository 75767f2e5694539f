"""``deblurrt eval``: scores, JSON, gate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deblurrt.cli import evaluate
from deblurrt.core.pictures import write_picture
from deblurrt.datasets import opencv, score_pairs
from deblurrt.models import create_model
from deblurrt.runtime.session import Session

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


def write_reds(root: Path, frames: int = 12) -> Path:
    """Lay out two sequences of REDS, blurred frames being sharp ones made darker."""
    for sequence in ("000", "001"):
        for index in range(frames):
            sharp = np.random.default_rng(index).integers(20, 236, (32, 48, 3), dtype=np.uint8)
            for kind, pixels in (("sharp", sharp), ("blur", sharp - np.uint8(index))):
                folder = root / "val" / f"val_{kind}" / sequence
                folder.mkdir(parents=True, exist_ok=True)
                write_picture(folder / f"{index:08d}.png", pixels)
    return root


def test_protocols_choose_and_crop_the_frames(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_reds(tmp_path / "REDS")
    chosen = ("--frames", "every10", "--crop", "16x24", "--json", "-")
    assert deblurrt("eval", "identity", "--data", root, *OPTIONS, *chosen) == 0
    result = json.loads(capsys.readouterr().out)
    names = [name for sequence in result["sequences"] for name in sequence["frames"]]
    assert names == ["000/00000000", "000/00000010", "001/00000000", "001/00000010"]
    assert (result["layout"], result["split"], result["frames"]) == ("reds", "val", 4)
    assert "pictures are cropped to their middle 16x24" in result["notes"]
    # ten levels darker everywhere, on any crop
    assert result["sequences"][0]["frames"]["000/00000010"]["mse"] == 100.0


def test_root_can_come_from_the_environment(
    deblurrt: Deblurrt, pairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEBLURRT_REDS", str(pairs))
    assert deblurrt("eval", "identity", *OPTIONS, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["layout"] == "pairs"


def test_what_is_not_measured_is_said(deblurrt: Deblurrt, pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deblurrt("eval", "identity", "--data", pairs, *OPTIONS) == 0
    assert "LPIPS is not measured: lpips is needed" in " ".join(capsys.readouterr().err.split())


def test_interrupted_evaluation_goes_on_where_it_stopped(
    deblurrt: Deblurrt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_reds(tmp_path / "REDS", 3)
    restored: list[int] = []
    restore = Session.restore

    def counted(session: Session, *pictures: Any) -> Any:
        restored.append(1)
        if len(restored) == 5:
            raise KeyboardInterrupt
        return restore(session, *pictures)

    monkeypatch.setattr(Session, "restore", counted)
    assert deblurrt("eval", "identity", "--data", root, *OPTIONS) == 130
    assert deblurrt("eval", "identity", "--data", root, *OPTIONS, "--json", "-") == 0
    shown = capsys.readouterr()
    assert "4 of 6 frames are scored already" in shown.err
    assert len(restored) == 5 + 2
    assert json.loads(shown.out)["frames"] == 6
    assert list((tmp_path / "cache" / "deblurrt" / "eval").iterdir()) == []


def test_restart_forgets_an_interrupted_evaluation(
    deblurrt: Deblurrt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_reds(tmp_path / "REDS", 2)
    score = score_pairs

    def interrupted(*arguments: Any) -> Any:
        yield next(score(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "score_pairs", interrupted)
    assert deblurrt("eval", "identity", "--data", root, *OPTIONS) == 130
    monkeypatch.setattr(evaluate, "score_pairs", score)
    assert deblurrt("eval", "identity", "--data", root, *OPTIONS, "--restart") == 0
    assert "scored already" not in capsys.readouterr().err


def test_networks_of_the_zoo_run_in_pytorch_with_test_time_options(
    deblurrt: Deblurrt, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = create_model("mprnet", n_feat=16, scale_unetfeats=8, scale_orsnetfeats=8, num_cab=1)
    torch.save({"epoch": 1, "state_dict": network.state_dict()}, tmp_path / "small.pth")
    options = ("--checkpoint", tmp_path / "small.pth", "--tlsc", "64:96", "--ensemble", "x4", "--threads", "1")
    assert deblurrt("eval", "mprnet", "--data", pairs, *options, "--json", "-") == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert result["backend"] == f"PyTorch {torch.__version__} cpu fp32, 1 threads, x4"
    assert result["frames"] == 2
    assert "random" not in shown.err


def test_network_without_a_checkpoint_is_scored_with_a_warning(
    deblurrt: Deblurrt, pairs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert deblurrt("eval", "carlo_net", "--data", pairs, "--threads", "1") == 0
    assert "random ones are used and scores mean nothing" in caplog.text


def test_users_own_module_is_scored(
    deblurrt: Deblurrt,
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "network.py").write_text("import torch\n\nmake = torch.nn.Identity\nother = dict\n")
    monkeypatch.chdir(tmp_path)
    assert deblurrt("eval", "users.network:make", "--data", pairs, "--threads", "1", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["gain_db"] == 0
    assert deblurrt("eval", "users.network:other", "--data", pairs) == 2
    assert "gives a dict, expected a torch.nn.Module" in capsys.readouterr().err
    assert deblurrt("eval", "users.network:missing", "--data", pairs) == 2
    assert "expected package.module:factory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["mine.onnx"], 6, "no model 'mine.onnx'; expected a shipped name"),
        (["identity", "--checkpoint", "w.pth"], 2, "--checkpoint goes with a network of the zoo"),
        (["identity", "--tlsc", "64:96"], 2, "--tlsc goes with a network of the zoo"),
        (["carlo_net", "--backend", "openvino"], 2, "carlo_net runs in PyTorch; leave --backend out"),
        (["carlo_net", "--tlsc", "64:96"], 2, "carlo_net has no global pool to replace"),
        (["mprnet", "--checkpoint", "missing.pth"], 6, "no checkpoint at missing.pth"),
        (["identity", "--ensemble", "x4", "--ensemble", "x8"], 2, "x8 contains x4"),
        (["identity", "--crop", "900x900"], 6, "the crop 900x900 is larger than"),
        (["identity", "--crop", "big"], 2, "expected HEIGHTxWIDTH such as 720x1280"),
        (["identity", "--track", "rain"], 2, "'rain' is not one of 'blur'"),
    ],
)
def test_unfit_arguments_end_with_one_line_and_their_code(
    deblurrt: Deblurrt,
    pairs: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    assert deblurrt("eval", *arguments, "--data", pairs) == code
    assert message in capsys.readouterr().err


def test_root_one_level_too_high_names_the_right_one(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_reds(tmp_path / "data" / "REDS", 1)
    assert deblurrt("eval", "identity", "--data", tmp_path / "data", *OPTIONS) == 6
    assert f"--data {tmp_path / 'data' / 'REDS'}" in capsys.readouterr().err


def test_missing_pair_and_frame_of_another_size_are_named(
    deblurrt: Deblurrt, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(pairs / "sharp" / "00000001.png", np.zeros((40, 50, 3), np.uint8))
    assert deblurrt("eval", "identity", "--data", pairs, *OPTIONS) == 6
    assert "both need one size" in capsys.readouterr().err
    (pairs / "sharp" / "00000001.png").unlink()
    assert deblurrt("eval", "identity", "--data", pairs, *OPTIONS) == 6
    assert "has no partner" in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.parametrize(("track", "known_db"), [("blur", 21.95), ("blur_jpeg", 21.75), ("blur_bicubic_x4", 21.67)])
def test_doing_nothing_on_reds_scores_the_known_figure(
    deblurrt: Deblurrt, data_root: Path, capsys: pytest.CaptureFixture[str], track: str, known_db: float
) -> None:
    root = data_root / "pairs" / "reds_seq000"
    assert deblurrt("eval", "identity", "--data", root, *OPTIONS, "--track", track, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["psnr_db"] == pytest.approx(known_db, abs=0.05)


def test_tiles_change_no_score(deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("blur", "sharp"):
        (tmp_path / folder).mkdir()
        pixels = np.random.default_rng(0).integers(0, 256, (300, 321, 3), dtype=np.uint8)
        write_picture(tmp_path / folder / "0.png", pixels)
    shown = []
    for tile in ((), ("--tile", "288x304")):
        assert deblurrt("eval", "default", "--data", tmp_path, *OPTIONS, *tile, "--json", "-") == 0
        shown.append(json.loads(capsys.readouterr().out))
    assert shown[0]["sequences"] == shown[1]["sequences"]
    assert "4 tiles of 288x304" in shown[1]["backend"]
