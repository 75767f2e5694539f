"""What the doctor finds: how grave it is, what it saw, what belongs there, and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..core.machine import Machine

Severity = Literal["note", "warning", "broken"]

#: from light to grave
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "broken")


@dataclass(frozen=True, slots=True)
class Finding:
    """A trap this machine is in.

    Attributes:
        severity: ``broken``: a part of the base install is missing, or something installed cannot work here;
            ``warning``: it works, slower than it could or not for long; ``note``: good to know.
        found: What is there.
        expected: What belongs there.
        remedy: One command, or what to do in a line.
        trap: Name of the trap; the table of traps gives it.
        area: Its part of the machine; likewise.
    """

    severity: Severity
    found: str
    expected: str
    remedy: str
    trap: str = ""
    area: str = ""


Check = Callable[[Machine], Finding | None]
