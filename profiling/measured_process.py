"""A command run to its end, with its time and the memory it took."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import MachineError

#: how often the memory of a running command is looked at, seconds; the kernel keeps its peak
LOOK_EVERY_S = 0.05
PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class MeasuredProcess:
    """What a command did.

    Attributes:
        status: What it ended with; negative: the signal that ended it.
        seconds: From its start to its end, imports included.
        cpu_seconds: That all its threads computed, which depends less on what else the machine does.
        peak_mib: Most memory it had resident; 0 where the kernel tells none.
        text: Standard output and errors together.
    """

    status: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    text: str

    @property
    def last_line(self) -> str:
        """The last line it wrote that is not blank."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"


def measured_process(command: Sequence[str], log: Path) -> MeasuredProcess:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        log: File for what it writes; replaced.

    Raises:
        MachineError: It cannot be started.
    """
    started, computed = time.perf_counter(), _cpu_seconds()
    peak_mib = 0.0
    with log.open("wb") as stream:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT)
        except OSError as error:
            raise MachineError(f"{command[0]} cannot be started ({error.strerror}); name another program") from error
        try:
            while process.poll() is None:
                peak_mib = max(peak_mib, _peak_mib(process.pid))
                time.sleep(LOOK_EVERY_S)
        finally:
            process.kill()
            process.wait()
    text = log.read_text(encoding="utf-8", errors="replace")
    seconds = time.perf_counter() - started
    return MeasuredProcess(process.returncode, seconds, _cpu_seconds() - computed, peak_mib, text)


def _cpu_seconds() -> float:
    """What all processes that ended computed."""
    used = os.times()
    return used.children_user + used.children_system


def _peak_mib(pid: int) -> float:
    try:
        found = PEAK.search(Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace"))
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0
