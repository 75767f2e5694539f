"""Passwords in the command line, kept out of the list of processes."""

from __future__ import annotations

import ctypes
from pathlib import Path

from ..runtime.redaction import redacted

#: this process, as Linux describes it
_PROCESS = Path("/proc/self")
#: where the arguments begin, among the values after the program's name (proc(5), arg_start)
_ARGUMENTS_FIELD = 45


def hide_arguments() -> None:
    """Overwrite users, passwords and tokens in the arguments other programs see of this process; on Linux only."""
    try:
        seen = (_PROCESS / "cmdline").read_bytes()
        start = int((_PROCESS / "stat").read_text().rpartition(")")[2].split()[_ARGUMENTS_FIELD])
    except (OSError, ValueError, IndexError):
        return
    hidden = b"\0".join(_hidden(argument) for argument in seen.split(b"\0"))
    if start and hidden != seen:
        ctypes.memmove(start, hidden, len(hidden))


def _hidden(argument: bytes) -> bytes:
    """Redact an argument without changing its length."""
    text = redacted(argument.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    return argument if text == argument else text[: len(argument)].ljust(len(argument))
