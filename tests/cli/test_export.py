"""``deblurrt export``: files, reports, and one line for everything that is wrong."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from deblurrt.core.artifacts import open_onnx, write_onnx
from deblurrt.core.contract import FrameContract
from deblurrt.core.pictures import write_picture
from deblurrt.models import create_model
from deblurrt.runtime.backend import BackendConfig
from deblurrt.runtime.session import SessionConfig, open_session
from deblurrt.runtime.shipped_models import find_model
from tests.export.float_networks import PROVENANCE, contract_of, export
from tests.tiny_graphs import FLOAT_FRAMES, FLOATS, value, write_graph

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
    message = next(line for line in capsys.readouterr().err.splitlines() if "Branch cannot be traced: " in line)
    assert re.search(r"own_layers\.py\W.*line 10\b", message)
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


PICTURE = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def restore(model: str | Path) -> NDArray[np.uint8]:
    with open_session(model, SessionConfig(backend="onnxruntime", options=BackendConfig(threads=1))) as session:
        return session.restore(PICTURE)


def assert_equal_but_for_ties(restored: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
    """Sums in another order move a value across x.5 now and then: one level, on at most 0.1 % of the values."""
    difference = np.abs(restored.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) <= 1e-3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small picture, so that the shipped networks are compared quickly."""
    path = tmp_path_factory.mktemp("data") / "p.png"
    write_picture(path, PICTURE[:32, :48])
    return path


def test_shipped_model_is_exported_for_one_size(
    deblurrt: Deblurrt, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "d.onnx"
    assert deblurrt("export", "default", "--size", "50x70", "--data", data, "-o", path) == 0
    file = open_onnx(path)
    assert file.inputs[0].shape == (1, 50, 70, 3)
    assert file.provenance == open_onnx(find_model("default")).provenance
    assert "note: frames of 50x70 are filled up to 64x80: the network takes multiples of 16 from 16" in (
        capsys.readouterr().err
    )
    assert_equal_but_for_ties(restore(path), restore("default"))


def test_weights_of_a_student_are_exported(
    deblurrt: Deblurrt, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = find_model("fast").with_suffix(".safetensors")
    assert deblurrt("export", weights, "--data", data) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["fast.onnx"]
    assert_equal_but_for_ties(restore(tmp_path / "fast.onnx"), restore("fast"))


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a small network, as ``deblurrt export`` writes it."""
    path = tmp_path_factory.mktemp("models") / "small.onnx"
    return write_onnx(export(contract_of(multiple=2)), path).path


def test_file_gets_half_precision_and_keeps_it(deblurrt: Deblurrt, small_file: Path, tmp_path: Path) -> None:
    half, fixed = tmp_path / "half.onnx", tmp_path / "fixed.onnx"
    assert deblurrt("export", small_file, "--precision", "fp16", "-o", half) == 0
    assert set(open_onnx(half).summary["macs"]) == {"fp16"}
    # no --precision: what the file is in
    assert deblurrt("export", half, "--size", "50x70", "-o", fixed) == 0
    assert set(open_onnx(fixed).summary["macs"]) == {"fp16"}
    assert open_onnx(fixed).provenance == PROVENANCE
    assert_equal_but_for_ties(restore(fixed), restore(half))


def test_file_is_named_after_the_file_it_is_made_of(
    deblurrt: Deblurrt, small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert deblurrt("export", small_file, "--target", "openvino") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]


def test_weights_go_beside_the_file_and_can_be_read_again(
    deblurrt: Deblurrt, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "parted").mkdir()
    parted, whole = tmp_path / "parted" / "d.onnx", tmp_path / "d.onnx"
    assert deblurrt("export", "default", "--external-data", "--data", data, "-o", parted) == 0
    assert sorted(path.name for path in parted.parent.iterdir()) == ["d.onnx", *open_onnx(parted).weight_files]
    mebibytes = sum(path.stat().st_size for path in parted.parent.iterdir()) / 2**20
    assert f"nodes, {mebibytes:.1f} MiB" in capsys.readouterr().err
    np.testing.assert_array_equal(restore(parted), restore("default"))
    assert deblurrt("export", parted, "--data", data, "-o", whole) == 0
    assert open_onnx(whole).weight_files == ()
    np.testing.assert_array_equal(restore(whole), restore(parted))


def test_weights_an_interrupted_run_left_are_refused_before_the_work(
    deblurrt: Deblurrt, small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.onnx.data.part").write_text("mine")
    monkeypatch.setattr("deblurrt.cli.export.export_work", lambda *_: pytest.fail("the work has begun"))
    assert deblurrt("export", small_file, "--external-data", "-o", tmp_path / "a.onnx") == 7
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("options", [(), ("--external-data",)], ids=["whole", "parted"])
def test_full_disk_ends_with_its_code_and_leaves_nothing(
    deblurrt: Deblurrt,
    small_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
) -> None:
    def fill_disk(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_disk)
    assert deblurrt("export", small_file, "-o", tmp_path / "a.onnx", *options) == 7
    assert "disk full while writing" in error_line(capsys)
    assert list(tmp_path.iterdir()) == []


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr; what the progress display wrote is no line of it."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("domain", ["", "elsewhere", "deblurrt"])
def test_file_with_an_operator_nobody_has_is_refused_in_one_line(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str], domain: str
) -> None:
    node = onnx.helper.make_node("Sharpen", ["frames"], ["restored"], domain=domain, name="sharpen")
    values = [value("frames", FLOATS, FLOAT_FRAMES)], [value("restored", FLOATS, FLOAT_FRAMES)]
    contract = FrameContract(io="float").to_json()
    path = write_graph(tmp_path / "odd.onnx", [node], values, contract=contract)
    if domain == "deblurrt":
        model = onnx.load(path)
        model.opset_import.add(domain=domain, version=1)
        onnx.save(model, path)
    assert deblurrt("export", path, "-o", tmp_path / "a.onnx") == 6
    message = error_line(capsys)
    assert "odd.onnx" in message or "sharpen" in message
    assert "Sharpen" in message
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("notes.onnx", "is not an ONNX model"),
        ("notes.safetensors", "is no readable safetensors file"),
        ("notes.txt", "is not an ONNX model"),
    ],
)
def test_text_is_refused_in_one_line(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text("these are notes\n" * 20)
    assert deblurrt("export", path, "-o", tmp_path / "a.onnx") == 6
    assert message in error_line(capsys)


def test_options_of_networks_do_not_go_with_files(
    deblurrt: Deblurrt, small_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in (("--checkpoint", "w.pth"), ("--tlsc", "64:96")):
        assert deblurrt("export", small_file, "-o", tmp_path / "a.onnx", *option) == 2
        assert f"{option[0]} goes with a network, {small_file} has its weights and pools inside" in error_line(capsys)
