"""``deblurrt run --pace`` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


def test_file_played_like_a_camera_keeps_a_constant_pace(
    deblurrt: Callable[..., int], clip: Path, tmp_path: Path
) -> None:
    summary, ledger = tmp_path / "summary.json", tmp_path / "frames.jsonl"
    arguments = ["--model", "identity", "--deadline-ms", "150", "--pace", "constant"]
    assert deblurrt("run", clip, tmp_path / "out.mkv", *arguments, "--ledger", ledger, "--json", summary) == 0
    states = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert len(states) == json.loads(summary.read_text())["captured"] > 0
    # a frame goes out at most 3 ms before its deadline
    assert min(sum(line["stages_ms"].values()) for line in states) > 145


def test_files_that_wait_for_the_network_have_no_pace(
    deblurrt: Callable[..., int], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt("run", clip, tmp_path / "out.mkv", "--pace", "constant") == 2
    assert "--pace constant goes with cameras and streams, or files with --deadline-ms" in capsys.readouterr().err
