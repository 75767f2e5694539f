"""Rows of the zoo are kept, and a report that lacks a part is no report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.errors import MachineError, QualityError
from deblurrt.core.pictures import write_picture
from deblurrt.profiling.kept_rows import Plan, Row
from deblurrt.profiling.measured_process import measured_process
from deblurrt.profiling.quantize_zoo import VIEWS, read_report


def plan(folder: Path, *networks: str, is_closed: bool = False) -> Plan:
    return Plan(folder, folder, lambda _line: None, is_closed, networks)


def failing() -> Row:
    raise QualityError("it fails")


def test_row_is_measured_once(tmp_path: Path) -> None:
    first = plan(tmp_path).row("zoo eacd", lambda: {"network": "eacd", "lost": 1})
    assert plan(tmp_path).row("zoo eacd", failing) == first == {"network": "eacd", "lost": 1}


def test_failure_is_a_row_of_its_network(tmp_path: Path) -> None:
    assert plan(tmp_path).row("zoo eacd", failing) == {"network": "eacd", "error": "it fails"}


def test_nothing_is_measured_unasked(tmp_path: Path) -> None:
    assert plan(tmp_path, is_closed=True).row("zoo eacd", failing) == {}
    assert plan(tmp_path, "wrcan").row("zoo eacd", failing) == {}
    assert list(tmp_path.iterdir()) == []


def write_report(folder: Path) -> Path:
    folder.mkdir()
    (folder / "index.html").write_text("<h1>eacd in int8</h1>")
    (folder / "report.json").write_text(json.dumps({"lost_db": 0.1, "decisions": [{"name": "head"}]}))
    for what in VIEWS:
        write_picture(folder / f"frame0_{what}.png", np.zeros((4, 4, 3), np.uint8))
    return folder


def test_whole_report_is_read(tmp_path: Path) -> None:
    assert read_report(write_report(tmp_path / "report"))["lost_db"] == 0.1


@pytest.mark.parametrize("name", ["index.html", "report.json", "frame0_difference.png"])
def test_report_that_lacks_a_file_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_report(tmp_path / "report")
    (folder / name).unlink()
    with pytest.raises(QualityError, match=f"lacks {name};"):
        read_report(folder)


def test_report_without_decisions_is_refused(tmp_path: Path) -> None:
    folder = write_report(tmp_path / "report")
    (folder / "report.json").write_text(json.dumps({"decisions": []}))
    with pytest.raises(QualityError, match="tells no decision"):
        read_report(folder)


def test_process_is_measured_to_its_end(tmp_path: Path) -> None:
    script = "import time; held = bytearray(96 << 20); time.sleep(0.2); print('done\\n'); raise SystemExit(3)"
    ran = measured_process([sys.executable, "-c", script], tmp_path / "log")
    assert (ran.status, ran.last_line) == (3, "done")
    assert ran.peak_mib > 96
    assert ran.cpu_seconds > 0
    assert ran.seconds > 0.2


def test_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no_such_program cannot be started"):
        measured_process(["no_such_program"], tmp_path / "log")
