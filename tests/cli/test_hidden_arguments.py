from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from pathlib import Path
from deblurrt.cli.hidden_arguments import hide_arguments
hide_arguments()
print(Path("/proc/self/cmdline").read_text().replace("\\0", "\\n"))
print(sys.argv[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the list of processes of Linux")
@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("rtsp://me:s3cr%40t@cam.lan:8554/live?channel=1", "rtsp://***@cam.lan:8554/live?channel=1"),
        ("http://cam.lan/live?token=s3cr&channel=1", "http://cam.lan/live?token=***&channel=1"),
        ("rtsp://a@cam.lan/live", "rtsp://***@cam.lan/li"),
        ("drive.mp4", "drive.mp4"),
    ],
)
def test_passwords_are_not_in_the_list_of_processes(given: str, seen: str) -> None:
    command = [sys.executable, "-c", CODE, given, "größe.mkv", "--ledger", "frames.jsonl"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = [line.rstrip() for line in answer.stdout.splitlines()]
    place = lines.index("größe.mkv") - 1
    assert lines[place : place + 4] == [seen, "größe.mkv", "--ledger", "frames.jsonl"]
    assert lines[-1] == given
