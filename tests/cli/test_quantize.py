"""``deblurrt quantize``: a file, a report, and documented exit codes."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from deblurrt.calibration.tensor_statistics import load_statistics, save_statistics
from deblurrt.core.artifacts import open_onnx
from deblurrt.runtime.backend import BackendConfig
from deblurrt.runtime.session import SessionConfig, open_session
from tests.calibration.small_networks import residual, write_frames, write_noise, write_pairs

Deblurrt = Callable[..., int]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    onnx.save(residual(), path)
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "pairs", 8)


def test_shipped_network_becomes_a_file_that_runs(
    deblurrt: Deblurrt, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, report = tmp_path / "fast.onnx", tmp_path / "report"
    options = ("--target", "openvino", "-o", path, "--report", report, "--json", "-")
    assert deblurrt("quantize", "fast", "--data", pairs, *options) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["share_8bit"] == 1.0
    assert len(result["calibration"]["frames"]) == 6
    assert open_onnx(path).summary["macs_per_pixel"] == {"int8": 9472}
    page = (report / "index.html").read_text()
    assert "http" not in page
    assert {entry.name for entry in report.iterdir()} >= {"index.html", "report.json", "frame0_difference.png"}
    assert json.loads((report / "report.json").read_text())["lost_db"] == result["lost_db"]
    with open_session(path, SessionConfig(options=BackendConfig("fp32"), backend="onnxruntime")) as session:
        shot = next((tmp_path / "pairs" / "blur").iterdir())
        assert shot.is_file()
        session.warm_up((48, 64))


def test_inspect_tells_of_the_calibration(
    deblurrt: Deblurrt, model: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "int8.onnx"
    assert deblurrt("quantize", model, "--data", pairs, "--rest", "fp32", "-o", path) == 0
    capsys.readouterr()
    assert deblurrt("inspect", path) == 0
    assert "6 frames" in capsys.readouterr().out


def test_rest_becomes_half_precision_for_tensorrt(deblurrt: Deblurrt, model: Path, pairs: Path, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    assert deblurrt("quantize", model, "--data", pairs, "-o", path) == 0
    loaded = onnx.load(path)
    kinds = {tensor.name: tensor.data_type for tensor in loaded.graph.initializer}
    assert kinds["conv1.weight/quantized"] == onnx.TensorProto.INT8
    assert kinds["tail.weight.low"] == onnx.TensorProto.FLOAT16
    assert kinds["head/scale.low"] == onnx.TensorProto.FLOAT16


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network and folders of frames of every kind; nothing that is refused writes there."""
    folder = tmp_path_factory.mktemp("places")
    onnx.save(residual(), folder / "small.onnx")
    write_pairs(folder / "pairs", 8)
    write_noise(folder / "noise")
    for name, count in (("few", 2), ("val", 8), ("pictures", 8), ("mixed", 8), ("damaged", 8)):
        write_frames(folder / name, count)
    write_frames(folder / "mixed", 4, (32, 48))
    for path in (folder / "damaged").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    (folder / "val" / "clip.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture
def workplace(places: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: ``places``."""
    monkeypatch.chdir(places)
    return places


def refusals() -> list[Any]:
    return [
        pytest.param((), 2, "needs frames to calibrate on", id="no data"),
        pytest.param(("--data", "nowhere"), 6, "no data at", id="missing"),
        pytest.param(("--data", "noise"), 6, "is no picture", id="random"),
        pytest.param(("--data", "few"), 6, "too few frames", id="too few"),
        pytest.param(("--data", "pairs", "--frames", "500"), 6, "500 wanted", id="fewer than asked for"),
        pytest.param(("--data", "val"), 2, "is of the val split", id="split"),
        pytest.param(("--data", "pairs", "--exclude", "nothing"), 2, "matches no layer", id="pattern"),
        pytest.param(("--data", "pictures", "--psnr-budget", "0"), 3, "the budget is 0 dB", id="budget"),
        pytest.param(("--data", "pairs", "--target", "openvino", "--format", "fp8"), 2, "fp8 is for", id="format"),
        pytest.param(("--data", "pairs", "--only", "("), 2, "--only '(' is no pattern", id="no pattern"),
        pytest.param(("--data", "pairs", "--seed", "-1"), 2, "-1 is not in the range", id="seed"),
        pytest.param(("--data", "pairs", "--time-limit", "9"), 2, "give --psnr-budget as well", id="limit of nothing"),
        pytest.param(("--data", "pairs", "--psnr-budget", "nan"), 2, "is no number of decibels", id="no number"),
        pytest.param(
            ("--data", "pairs", "--psnr-budget", "1", "--held-out", "0"),
            2,
            "give --data, and --held-out",
            id="no judge",
        ),
        pytest.param(
            ("--statistics", "known.npz", "--psnr-budget", "1"),
            2,
            "give --data, and --held-out",
            id="budget of nothing",
        ),
        pytest.param(("--data", "pairs", "--data", "pairs"), 2, "frames are given twice", id="twice"),
        pytest.param(("--data", "mixed"), 6, "calibrate on frames of one size", id="mixed sizes"),
        pytest.param(("--data", "damaged"), 6, "is not a readable picture", id="unreadable"),
        pytest.param(("--data", "small.onnx"), 6, "small.onnx", id="no video"),
        pytest.param(("--data", "val/clip.mp4"), 2, "is of the val split", id="video of a split"),
        pytest.param(("--data", "pairs", "--statistics", "nowhere/s.npz"), 7, "mkdir -p nowhere", id="no folder"),
        pytest.param(("--data", "pairs", "--statistics", "pairs"), 7, "is a folder", id="statistics in a folder"),
        pytest.param(("--data", "pairs", "--statistics", "val/clip.mp4"), 6, "holds no statistics", id="no statistics"),
        pytest.param(
            ("--data", "pairs", "--report", "nowhere/page"), 7, "mkdir -p nowhere", id="no folder of the page"
        ),
        pytest.param(
            ("--data", "pictures", "--psnr-budget", "0.000001", "--time-limit", "0"), 3, "time limit ended", id="time"
        ),
    ]


@pytest.mark.parametrize(("options", "code", "told"), refusals())
def test_what_is_wrong_is_said_in_one_line(
    deblurrt: Deblurrt,
    workplace: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: int,
    told: str,
) -> None:
    assert deblurrt("quantize", "small.onnx", *options, "-o", "int8.onnx", "--rest", "fp32") == code
    assert told in capsys.readouterr().err
    assert not (workplace / "int8.onnx").exists()


def test_existing_file_is_kept_without_force(deblurrt: Deblurrt, model: Path, pairs: Path, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    path.write_bytes(b"mine")
    assert deblurrt("quantize", model, "--data", pairs, "-o", path) == 7
    assert path.read_bytes() == b"mine"


def test_allowed_test_split_is_marked(deblurrt: Deblurrt, model: Path, tmp_path: Path) -> None:
    folder, path = write_frames(tmp_path / "test", 8), tmp_path / "int8.onnx"
    assert deblurrt("quantize", model, "--data", folder, "--allow-test-split", "-o", path) == 0
    assert open_onnx(path).provenance["calibration"]["test_split"] == "test"


def test_video_is_calibrated_on(deblurrt: Deblurrt, model: Path, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    assert deblurrt("quantize", model, "--data", clip, "--target", "ort", "--frames", 4, "-o", path) == 0
    told = open_onnx(path).provenance["calibration"]
    assert len(told["frames"]) == 4
    assert all(name.startswith("clip.mp4/") for name in told["frames"])
    assert told["target"] == "onnxruntime"


def test_file_that_is_quantised_already_is_refused(
    deblurrt: Deblurrt, model: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "int8.onnx"
    assert deblurrt("quantize", model, "--data", pairs, "--target", "openvino", "-o", path) == 0
    assert deblurrt("quantize", path, "--data", pairs, "-o", tmp_path / "again.onnx") == 2
    assert "is quantised already; give the float32 file" in capsys.readouterr().err


def test_same_command_gives_the_same_bytes_with_statistics_and_without(
    deblurrt: Deblurrt, model: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = ("--statistics", tmp_path / "known.npz")
    for name, options in (("a", ()), ("b", known), ("c", known)):
        place = tmp_path / f"{name}.onnx"
        assert deblurrt("quantize", model, "--data", pairs, "--target", "openvino", *options, "-o", place) == 0
        assert ("an earlier calibration were taken" in capsys.readouterr().err) == (name == "c")
    assert len({(tmp_path / f"{name}.onnx").read_bytes() for name in "abc"}) == 1
    assert deblurrt("quantize", model, *known, "--target", "openvino", "--method", "entropy", "-o", tmp_path / "d") == 0


def test_interrupted_command_leaves_statistics_alone_and_goes_on(
    deblurrt: Deblurrt, model: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(name: str) -> int:
        options = ("--statistics", tmp_path / f"{name}.npz", "--report", tmp_path / name, "--target", "openvino")
        return deblurrt("quantize", model, "--data", pairs, *options, "-o", tmp_path / f"{name}.onnx")

    assert command("whole") == 0
    saved = 0

    def interrupted(*arguments: Any) -> None:
        nonlocal saved
        save_statistics(*arguments)
        saved += 1
        if saved == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("deblurrt.calibration.calibrator.save_statistics", interrupted)
        patched.setattr("deblurrt.calibration.calibrator.SAVE_EVERY_S", 0.0)
        assert command("cut") == 130
    assert sorted(path.name for path in tmp_path.glob("cut*")) == ["cut.npz"]
    assert load_statistics(tmp_path / "cut.npz").frames == 3
    assert command("cut") == 0
    for suffix in (".npz", ".onnx"):
        assert (tmp_path / f"cut{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".onnx", ".npz"])
def test_full_disk_ends_with_7_and_nothing_half_written(
    deblurrt: Deblurrt,
    model: Path,
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    suffix: str,
) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if suffix not in path.name:
            return write(path, data)
        write(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    options = ("--target", "openvino", "--statistics", tmp_path / "known.npz", "-o", tmp_path / "int8.onnx")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        assert deblurrt("quantize", model, "--data", pairs, *options) == 7
    assert "disk full while writing" in capsys.readouterr().err
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"small.onnx", "pairs", *(["known.npz"] if suffix == ".onnx" else [])}


def test_search_lists_what_was_measured(
    deblurrt: Deblurrt, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_frames(tmp_path / "pictures", 8)
    options = ("--target", "openvino", "--psnr-budget", "0.02", "--json", tmp_path / "r.json", "-o", tmp_path / "int8")
    assert deblurrt("quantize", model, "--data", folder, *options) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["lost_db"] <= 0.02
    assert 0.5 <= result["share_8bit"] < 1
    table = capsys.readouterr().out
    for trial in result["trials"]:
        assert f"{trial['lost_db']:.3f}" in table
    (taken,) = [trial for trial in result["trials"] if trial["is_taken"]]
    assert (taken["share_8bit"], taken["lost_db"]) == (result["share_8bit"], result["lost_db"])


def test_budget_that_cannot_be_met_leaves_a_report_and_no_file(
    deblurrt: Deblurrt, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, path, report = write_frames(tmp_path / "pictures", 8), tmp_path / "int8.onnx", tmp_path / "report"
    options = ("--psnr-budget", "0", "--report", report, "--json", "-", "-o", path)
    assert deblurrt("quantize", model, "--data", folder, *options) == 3
    assert not path.exists()
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert told["file"] is None
    values = json.loads((report / "report.json").read_text())
    assert values["refusal"] == told["refusal"]
    assert values["refusal"].startswith("the budget is 0 dB")
    assert len(values["trials"]) > 1
    assert not any(trial["is_taken"] for trial in values["trials"])
    assert not any(decision["is_quantized"] for decision in values["decisions"])
    assert {decision["reason"] for decision in values["decisions"] if decision["name"] == "conv1"} == {
        "the budget was not met"
    }
    page = (report / "index.html").read_text()
    assert f"No file was written: {values['refusal']}" in page
    for trial in values["trials"]:
        assert f"{trial['lost_db']:.3f}" in shown.err
