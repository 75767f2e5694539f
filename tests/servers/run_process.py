"""``deblurrt run`` as a process of its own: started, watched by its ledger, signalled, killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import av

#: generous: the machine may be busy with other tests
PATIENCE_S = 60.0

IDENTITY = ("--backend", "onnxruntime", "--threads", "1", "--model", "identity")

START = "import sys; from deblurrt.cli.main import main; sys.argv[0] = 'deblurrt'; main()"


class RunProcess:
    """A running ``deblurrt run``; leaving the context kills it.

    Args:
        arguments: What follows ``deblurrt run``; the network is ``identity``.
        before: Python code that runs first, such as limits of the process.
        stdin: What it reads.
    """

    def __init__(self, arguments: Sequence[object], before: str = "", stdin: IO[bytes] | None = None) -> None:
        code = f"{before}\n{START}" if before else START
        command = [sys.executable, "-c", code, "run", *IDENTITY]
        # names of files may be bytes that are no text
        encoded = [one if isinstance(one, bytes) else str(one).encode() for one in arguments]
        self.process = subprocess.Popen(
            [*command, *encoded], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __enter__(self) -> RunProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def wait_for_lines(self, ledger: Path, count: int) -> None:
        """Wait until the ledger has so many lines."""
        until_s = time.monotonic() + PATIENCE_S
        while not ledger.exists() or ledger.read_bytes().count(b"\n") < count:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until_s, "no frame came out"
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and give the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def said(self) -> str:
        """All it wrote to standard error, once it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode(errors="replace")


def lines_of(ledger: Path) -> list[dict[str, Any]]:
    """The whole lines of a ledger; a killed process may leave half a line."""
    text = ledger.read_text() if ledger.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def times_in(path: Path) -> list[float]:
    """When the frames of a video are shown, seconds; those that can be decoded, up to the first damage."""
    times: list[float] = []
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                assert frame.time is not None
                times.append(frame.time)
    except av.FFmpegError:
        return times
    return times
