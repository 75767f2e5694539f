"""``deblurrt run --isolate`` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.run_process import PATIENCE_S, RunProcess, lines_of

CAMERA = "synthetic://?size=48x64&fps=50"


def children(pid: int) -> list[int]:
    paths = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in paths for child in path.read_text().split()]


def test_killed_network_is_opened_anew_and_the_run_goes_on(tmp_path: Path) -> None:
    recording, ledger, summary = (tmp_path / name for name in ("out.mkv", "frames.jsonl", "summary.json"))
    arguments = [CAMERA, recording, "--isolate", "--ledger", ledger, "--json", summary, "--deadline-ms", 2000]
    with RunProcess(arguments) as run:
        run.wait_for_lines(ledger, 20)
        (network,) = children(run.process.pid)
        os.kill(network, signal.SIGKILL)
        until_s = time.monotonic() + PATIENCE_S
        while not any(line["state"] == "DEBLURRED" for line in after_the_loss(ledger)):
            assert time.monotonic() < until_s
            time.sleep(0.05)
        (successor,) = children(run.process.pid)
        assert run.stop() == 0
        said = run.said()
    result, lines = json.loads(summary.read_text()), lines_of(ledger)
    assert (result["isolated"], result["network_restarts"], result["imbalances"]) == (True, 1, [])
    assert result["captured"] == len(lines) == sum(result["states"].values())
    assert result["backend"].endswith("in a process of its own")
    assert "the network's process was ended by SIGKILL; it is given up and opened anew" in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in (network, successor))


def after_the_loss(ledger: Path) -> list[dict[str, object]]:
    lines = lines_of(ledger)
    lost = [index for index, line in enumerate(lines) if "SIGKILL" in line["reason"]]
    return lines[lost[0] :] if lost else []


def test_files_that_wait_for_the_network_are_not_isolated(
    deblurrt: Callable[..., int], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt("run", clip, tmp_path / "out.mkv", "--isolate") == 2
    assert "--isolate goes with cameras and streams, or files with --deadline-ms" in capsys.readouterr().err


def test_model_that_is_missing_is_told_as_without_isolation(
    deblurrt: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for isolate in ([], ["--isolate"]):
        assert deblurrt("run", CAMERA, tmp_path / "out.mkv", "--model", "none.onnx", *isolate) == 6
        said.append(capsys.readouterr().err)
    assert said[0] == said[1] != ""
