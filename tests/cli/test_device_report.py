"""``deblurrt device-report`` on a machine without a GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deblurrt.cli import device_report
from deblurrt.core.errors import BackendError
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
