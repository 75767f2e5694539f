"""``deblurrt device-report`` on a machine without a GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deblurrt.cli import device_report
from deblurrt.core.errors import BackendError, MachineError
from deblurrt.core.manifest import read_manifest

Deblurrt = Callable[..., int]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_report_says_what_was_measured_and_why_the_rest_was_not(deblurrt: Deblurrt, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="the extra rtx is not installed")
    folder = tmp_path / "report"
    options = ("--only", "fast", "--size", "64x96", "--backend", "tensorrt-rtx")
    assert deblurrt("device-report", folder, *options) == 0
    told = json.loads((folder / "report.json").read_text())
    (row,) = told["networks"]
    assert row["engine"]["precision"] == {"fp16": 1.0}
    assert row["fp16_psnr_db"] > 60
    assert row["cpu"]["median"] > 0
    assert list(row["missing"]) == ["measure on the GPU"]
    assert told["machine"]["machine"]["python"]
    assert read_manifest(folder / "fast.engine").shapes[0] == (64, 96)
    page = (folder / "report.md").read_text()
    assert "| fast | 64x96 |" in page
    assert "- fast, measure on the GPU: " in page
    assert deblurrt("device-report", folder, *options) == 7


def test_step_that_fails_leaves_its_reason_and_the_others_go_on(
    deblurrt: Deblurrt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise BackendError("no builder today")

    monkeypatch.setattr(device_report, "engine_from_onnx", refuse)
    folder = tmp_path / "report"
    assert deblurrt("device-report", folder, "--only", "fast", "--size", "64x96") == 0
    (row,) = json.loads((folder / "report.json").read_text())["networks"]
    assert row["missing"] == {"build": "no builder today"}
    assert row["cpu"]["median"] > 0
    assert row["export_s"] > 0


def test_unknown_network_is_refused_before_anything_is_written(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt("device-report", tmp_path / "report", "--only", "nobody") == 2
    assert "no network 'nobody' to report on; expected default, fast, carlo_net" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("there", ["fast.engine", "fast.engine.json", "report.md"])
def test_files_of_the_user_are_not_replaced(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str], there: str
) -> None:
    mine = tmp_path / there
    mine.write_bytes(b"mine")
    assert deblurrt("device-report", tmp_path, "--only", "default", "--only", "fast") == 7
    assert f"{mine} exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize(("name", "least"), [("edpn_sr", "4x4"), ("carlo_net", "21x21")])
def test_size_below_what_a_network_takes_is_refused(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, least: str
) -> None:
    assert deblurrt("device-report", tmp_path / "report", "--only", name, "--size", "3x64") == 2
    assert f"--size is 3x64, {name} restores no less than {least}" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("place", ["m.onnx", "m.onnx/report"])
def test_folder_that_cannot_be_made_ends_with_7(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    (tmp_path / "m.onnx").write_bytes(b"mine")
    assert deblurrt("device-report", tmp_path / place, "--only", "fast") == 7
    assert f"{tmp_path / place} cannot be written" in capsys.readouterr().err


def test_error_of_a_package_is_a_reason_and_the_report_goes_on(
    deblurrt: Deblurrt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("no memory\nfor this")

    monkeypatch.setattr(device_report, "exported_file", burst)
    monkeypatch.setattr(device_report, "open_session", burst)
    folder = tmp_path / "report"
    assert deblurrt("device-report", folder, "--only", "default", "--only", "fast", "--size", "64x96") == 0
    rows = json.loads((folder / "report.json").read_text())["networks"]
    reason = "RuntimeError: no memory for this"
    assert [row["missing"] for row in rows] == [dict.fromkeys(("export", "check", "measure on the CPU"), reason)] * 2


def test_engines_of_rtx_are_not_said_to_lack_trtexec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device_report, "find_trtexec", lambda: Path("/usr/bin/trtexec"))
    report = device_report._Report((64, 96), "tensorrt-rtx", tmp_path, has_gpu=True)
    with pytest.raises(MachineError, match="trtexec does not run engines of tensorrt-rtx"):
        report._gpu(tmp_path / "m.engine", {})
