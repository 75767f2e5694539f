"""Whether a frame goes to a network, to which, and why not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .ladder import Ladder
from .lockout import FAILURES_MAX, Lockout
from .service_time import ServiceTime
from .terminal import Terminal

logger = logging.getLogger(__name__)

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to a frame.

    Attributes:
        action: ``run`` the network, ``warm_up`` it for the frame's size, or let the frame ``pass``.
        rung: Number of the network.
        state: Terminal state of a frame that passes.
        reason: Why it passes.
        is_probe: The run is a try of a network that seems too slow or broken.
    """

    action: Literal["run", "warm_up", "pass"]
    rung: int = 0
    state: Terminal | None = None
    reason: str = ""
    is_probe: bool = False


class Admission:
    """Starts only what can finish, leaves failing networks alone, and tries both again now and then.

    Args:
        models: Names of the networks, largest first; the first runs unless it is too slow.
        has_control: Whether runs that cannot finish in time are refused.
    """

    def __init__(self, models: Sequence[str], *, has_control: bool = True) -> None:
        self.models = tuple(models)
        self._has_control = has_control
        self._ladder = Ladder(len(self.models))
        self._lockout = Lockout()
        self._times: dict[tuple[int, Size], ServiceTime] = {}
        self._unfit: dict[Size, str] = {}

    @property
    def model(self) -> str:
        """The network in use."""
        return self.models[self._ladder.rung]

    @property
    def lockout_reason(self) -> str | None:
        """Why networks are left alone; None while they are not."""
        return self._lockout.reason if self._lockout.is_locked else None

    def estimate_ns(self, size: Size) -> int | None:
        """How long the network in use takes; None before it is warm for ``size``."""
        times = self._times.get((self._ladder.rung, size))
        return None if times is None else times.estimate_ns

    def decide(self, size: Size, left_ns: int | None, now_ns: int) -> Decision:
        """Say what to do with a frame that must be restored within ``left_ns``."""
        if size in self._unfit:
            return Decision("pass", state=Terminal.PASS_SHAPE, reason=self._unfit[size])
        if not self._lockout.allows(now_ns):
            reason = f"left alone after {FAILURES_MAX} failures in a row: {self._lockout.reason}"
            return Decision("pass", state=Terminal.PASS_FAULT, reason=reason)
        for rung in range(len(self.models)):
            if (rung, size) not in self._times:
                return Decision("warm_up", rung, Terminal.PASS_WARMUP)
        if self._ladder.wants_retry(now_ns):
            return Decision("run", self._ladder.rung - 1, is_probe=True)
        rung = self._ladder.rung
        times = self._times[rung, size]
        verdict = times.verdict(left_ns) if self._has_control else "run"
        if verdict != "refuse":
            return Decision("run", rung, is_probe=verdict == "probe")
        left_ms = max(left_ns or 0, 0) / 1e6
        reason = f"{self.models[rung]} needs {times.estimate_ns / 1e6:.1f} ms, {left_ms:.1f} are left"
        return Decision("pass", rung, Terminal.PASS_ADMISSION, reason)

    def warmed_up(self, rung: int, size: Size, runs_ns: Sequence[int]) -> None:
        """Record that a network is ready for ``size`` and how long it took."""
        self._times[rung, size] = ServiceTime(runs_ns)

    def is_unfit(self, size: Size, reason: str) -> None:
        """Record that frames of ``size`` do not fit the networks."""
        self._unfit[size] = reason
        logger.warning("frames of %dx%d go out untouched: %s", *size, reason)

    def ran(self, decision: Decision, size: Size, service_ns: int, left_ns: int | None) -> None:
        """Record a run that gave a picture; ``left_ns`` was the time until the deadline at its start."""
        self._lockout_cleared()
        times = self._times.get((decision.rung, size))
        if times is None:
            return
        if decision.is_probe:
            times.add_probe(service_ns, left_ns)
        else:
            times.add(service_ns)

    def tried(self, decision: Decision, service_ns: int | None, needed_ns: int | None, now_ns: int) -> None:
        """Tell the ladder of a run above its rung; None where it failed."""
        if decision.rung < self._ladder.rung and self._ladder.retried(service_ns, needed_ns, now_ns):
            logger.warning("%s is fast enough again and takes over", self.model)

    def failed(self, reason: str, now_ns: int) -> None:
        """Record a run that raised, hung, or gave a picture that cannot be right."""
        was_locked = self._lockout.is_locked
        self._lockout.fail(reason, now_ns)
        if self._lockout.is_locked and not was_locked:
            logger.warning("%s failed %d times in a row and is left alone: %s", self.model, FAILURES_MAX, reason)

    def observe(self, state: Terminal, now_ns: int) -> None:
        """Tell the ladder how a frame ended."""
        is_about_speed = state in _ABOUT_SPEED
        if is_about_speed and self._ladder.observe(state is Terminal.DEBLURRED, now_ns):
            logger.warning("too slow for too many frames: %s takes over", self.model)

    def forget(self) -> None:
        """Forget what was warm: the networks have been opened anew."""
        self._times.clear()

    def _lockout_cleared(self) -> None:
        if self._lockout.is_locked:
            logger.warning("%s works again", self.model)
        self._lockout.clear()


_ABOUT_SPEED = frozenset(
    {Terminal.DEBLURRED, Terminal.PASS_DEADLINE, Terminal.PASS_ADMISSION, Terminal.PASS_SUPERSEDED}
)
