"""Which programs have a device open, for a camera that is in use."""

from __future__ import annotations

import os
from pathlib import Path

_PROCESSES = Path("/proc")

#: more are not named
_NAMED_MAX = 3


def holders_of(device: str) -> str:
    """Name the other processes that have ``device`` open, those of this user or, as root, of all.

    Returns:
        ``cheese (process 1234), zoom (process 99)``; empty where none can be seen.
    """
    try:
        wanted = Path(device).stat()
    except OSError:
        return ""
    found = [process for process in _PROCESSES.glob("[0-9]*") if _has_open(process, wanted)]
    others = [process for process in found if int(process.name) != os.getpid()]
    return ", ".join(f"{_name(process)} (process {process.name})" for process in others[:_NAMED_MAX])


def _has_open(process: Path, wanted: os.stat_result) -> bool:
    try:
        handles = list((process / "fd").iterdir())
    except OSError:  # it belongs to somebody else, or has ended
        return False
    return any(_is_same(handle, wanted) for handle in handles)


def _is_same(handle: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(handle.stat(), wanted)
    except OSError:
        return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "a program"
