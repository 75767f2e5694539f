"""``deblurrt export``: files, reports, and one line for everything that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from deblurrt.core.artifacts import open_onnx
from deblurrt.core.contract import FrameContract
from deblurrt.models import create_model
from deblurrt.runtime.session import SessionConfig, open_session

Deblurrt = Callable[..., int]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ATROUS_NET of three frames."""
    path = tmp_path_factory.mktemp("weights") / "atrous.pth"
    torch.save(create_model("atrous_net", blocks=1, channels=8, in_frames=3).state_dict(), path)
    return path


def test_file_runs_proves_itself_and_says_what_it_is(
    deblurrt: Deblurrt, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, report = tmp_path / "a.onnx", tmp_path / "parity.json"
    assert (
        deblurrt("export", "atrous_net", "--checkpoint", checkpoint, "-o", path, "--report", report, "--json", "-") == 0
    )
    result = json.loads(capsys.readouterr().out)
    assert result["passed"] is True
    assert [stage["stage"] for stage in result["stages"]] == ["pytorch->onnx", "typed->lowered", "lowered->deployed"]
    assert json.loads(report.read_text())["passed"] is True
    file = open_onnx(path)
    assert file.contract == FrameContract(window=3, multiple=2, min_size=2, halo_px=18)
    assert file.provenance["model"] == "atrous_net"
    assert len(file.provenance["weights_sha256"]) == 64
    frames = [np.random.default_rng(index).integers(0, 256, (21, 30, 3), dtype=np.uint8) for index in range(3)]
    with open_session(path, SessionConfig(backend="onnxruntime")) as session:
        assert session.restore(frames[1], frames[0], frames[2]).shape == (21, 30, 3)


def test_half_precision_file_tells_what_stays_single(
    deblurrt: Deblurrt, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, report = tmp_path / "a.onnx", tmp_path / "precision.json"
    options = ("--precision", "fp16", "--precision-report", report, "-o", path)
    assert deblurrt("export", "atrous_net", "--checkpoint", checkpoint, *options) == 0
    assert json.loads(report.read_text())["precision"] == "fp16"
    assert set(open_onnx(path).summary["macs"]) == {"fp16"}
    assert "fp32->typed" in capsys.readouterr().out


def test_size_is_fixed_where_wanted(deblurrt: Deblurrt, checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    options = ("--size", "33x48", "--io", "float", "-o", path)
    assert deblurrt("export", "atrous_net", "--checkpoint", checkpoint, *options) == 0
    assert open_onnx(path).inputs[0].shape == (1, 9, 34, 48)


def test_local_pools_are_ours_with_bodies_or_without(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "wrcan.pth"
    torch.save(create_model("wrcan", n_feats=4, n_resgroups=1, n_resblocks=1).state_dict(), weights)
    common = ("export", "wrcan", "--checkpoint", weights, "--tlsc", "64:96", "-o")
    assert deblurrt(*common, tmp_path / "any.onnx") == 0
    assert deblurrt(*common, tmp_path / "strict.onnx", "--strict") == 0
    assert deblurrt(*common, tmp_path / "inlined.onnx", "--target", "openvino") == 0
    bodies = [len(onnx.load(tmp_path / f"{name}.onnx").functions) for name in ("any", "strict", "inlined")]
    assert bodies == [1, 0, 0]
    assert deblurrt("compare", tmp_path / "any.onnx", tmp_path / "inlined.onnx", "--size", "32x40") == 0


def test_seeded_weights_are_marked(deblurrt: Deblurrt, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert deblurrt("export", "carlo_net", "--seed", "5", "-o", tmp_path / "c.onnx") == 0
    assert open_onnx(tmp_path / "c.onnx").provenance["weights"] == "random:5"
    assert "random ones are used" in caplog.text


def test_users_own_module_is_exported(
    deblurrt: Deblurrt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_layers.py").write_text(
        "import torch\n\n\ndef make():\n    return torch.nn.Conv2d(3, 3, 3, padding=1)\n\n\n"
        "class Branch(torch.nn.Module):\n    def forward(self, x):\n        return x if float(x.mean()) > 0 else -x\n"
    )
    monkeypatch.chdir(tmp_path)
    assert deblurrt("export", "own_layers:make", "--io", "float") == 0
    assert (tmp_path / "own_layers.onnx").is_file()
    assert deblurrt("export", "own_layers:Branch", "-o", "b.onnx") == 2
    assert "Branch cannot be traced: " in capsys.readouterr().err
    assert not (tmp_path / "b.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["identity"], 2, "export takes a network"),
        (["wrcan", "--size", "8x8", "--dynamic"], 2, "give one of them"),
        (["wrcan", "--strict", "--target", "openvino"], 2, "--strict leaves out what openvino runs"),
        (["wrcan", "--checkpoint", "missing.pth"], 6, "no checkpoint at missing.pth"),
        (["wrcan", "-o", "missing/w.onnx"], 7, "missing"),
    ],
)
def test_unfit_arguments_end_with_one_line_and_their_code(
    deblurrt: Deblurrt,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert deblurrt("export", *arguments) == code
    assert message in capsys.readouterr().err


def test_existing_file_is_kept_without_force(deblurrt: Deblurrt, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("mine")
    assert deblurrt("export", "atrous_net", "--checkpoint", checkpoint, "-o", tmp_path / "a.onnx") == 7
    assert (tmp_path / "a.onnx").read_text() == "mine"
