from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deblurrt.core.errors import OutputError
from deblurrt.runtime.ledger import Ledger
from deblurrt.runtime.ledger_file import LedgerFile
from deblurrt.runtime.terminal import Result, Terminal
from tests.fakes import plain_frame

STAGES_MS = (("queue", 1.0), ("network", 20.0), ("hold", 0.5))


def result(seq: int, state: Terminal = Terminal.DEBLURRED, epoch: int = 0) -> Result:
    frame = plain_frame(seq, epoch=epoch)
    return Result(frame, frame.pixels, state, stages_ms=STAGES_MS)


def test_equation_names_what_is_missing() -> None:
    ledger = Ledger("cam")
    for seq in range(3):
        ledger.add_captured(plain_frame(seq))
    ledger.add_ended(result(0))
    assert ledger.imbalance(2) is None
    assert ledger.imbalance(1) == "cam: 3 frames captured, 1 ended and 1 inside"


@pytest.mark.parametrize(("first", "second"), [((1, 0), (0, 0)), ((1, 0), (1, 0)), ((0, 1), (5, 0))])
def test_frames_out_of_order_are_noticed(first: tuple[int, int], second: tuple[int, int]) -> None:
    ledger = Ledger("cam")
    for seq, epoch in (first, second):
        ledger.add_captured(plain_frame(seq, epoch=epoch))
        ledger.add_ended(result(seq, epoch=epoch))
    assert "behind a later one" in (ledger.imbalance(0) or "")


def test_deadline_is_missed_only_behind_it() -> None:
    ledger = Ledger("cam")
    for deadline_ms in (21.4, 21.5, 30.0):
        ledger.add_ended(replace(result(0), deadline_ns=round(deadline_ms * 1e6)))
    assert ledger.missed == 1


def test_line_waits_for_every_sink_and_holds_what_is_promised() -> None:
    lines: list[dict[str, Any]] = []
    ledger = Ledger("cam", ["file", "view"], lines.append)
    frame = plain_frame(7)
    ledger.add_ended(result(7))
    ledger.add_emitted("file", frame, 25.0)
    assert lines == []
    ledger.add_emitted("view", frame, None)
    assert lines == [
        {
            "stream": "cam",
            "epoch": 0,
            "seq": 7,
            "state": "DEBLURRED",
            "reason": "",
            "pts": None,
            "t_capture_ns": 0,
            "stages_ms": {"queue": 1.0, "network": 20.0, "hold": 0.5},
            "emit_ms": {"file": 25.0, "view": None},
        }
    ]


def test_dropped_frame_has_its_line_at_once_and_unanswered_ones_at_the_end() -> None:
    lines: list[dict[str, Any]] = []
    ledger = Ledger("cam", ["file"], lines.append)
    ledger.add_ended(result(0, Terminal.DROPPED_POLICY))
    ledger.add_ended(result(1))
    assert [line["seq"] for line in lines] == [0]
    ledger.finish()
    assert [(line["seq"], line["emit_ms"]) for line in lines] == [(0, {}), (1, {"file": None})]


def test_file_holds_a_line_of_json_for_each(tmp_path: Path) -> None:
    lines = LedgerFile(tmp_path / "frames.jsonl")
    for seq in range(100):
        lines.write({"seq": seq})
    lines.close()
    lines.close()
    written = [json.loads(line) for line in (tmp_path / "frames.jsonl").read_text().splitlines()]
    assert written == [{"seq": seq} for seq in range(100)]


def test_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    place = tmp_path / "frames.jsonl"
    place.write_text("mine")
    with pytest.raises(OutputError, match="force"):
        LedgerFile(place)
    LedgerFile(place, force=True).close()
    assert place.read_text() == ""


def test_full_disk_is_remembered_and_stops_nobody() -> None:
    lines = LedgerFile(Path("/dev/full"), force=True)
    lines.write({"seq": 0})
    lines.close()
    assert isinstance(lines.error, OutputError)
    lines.write({"seq": 1})
