"""Whether a frame goes to a network, to which, and why not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .ladder import Ladder
from .lockout import FAILURES_MAX, Lockout
from .service_time import ServiceTime
from .terminal import Terminal

logger = logging.getLogger(__name__)

Size = tuple[int, int]

#: frames of one run at most
BATCH_MAX = 8
#: several frames at once must take less than this share of what they take one after the other
BATCH_GAIN = 0.9


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to a frame.

    Attributes:
        action: ``run`` the network, ``warm_up`` it for the frame's size, or let the frame ``pass``.
        rung: Number of the network.
        count: Frames at once.
        state: Terminal state of a frame that passes.
        reason: Why it passes.
        is_probe: The run is a try of a network that seems too slow or broken.
    """

    action: Literal["run", "warm_up", "pass"]
    rung: int = 0
    count: int = 1
    state: Terminal | None = None
    reason: str = ""
    is_probe: bool = False


class Admission:
    """Starts only what can finish, leaves failing networks alone, and tries both again now and then.

    Args:
        models: Names of the networks, largest first; the first runs unless it is too slow.
        has_control: Whether runs that cannot finish in time are refused.
        batch_max: Per network, the most frames of one run; None for any number. Left out: one.
    """

    def __init__(
        self, models: Sequence[str], *, has_control: bool = True, batch_max: Sequence[int | None] | None = None
    ) -> None:
        self.models = tuple(models)
        self._batch_max = [BATCH_MAX if most is None else most for most in batch_max or [1] * len(self.models)]
        self._has_control = has_control
        self._ladder = Ladder(len(self.models))
        self._lockout = Lockout()
        self._times: dict[tuple[int, Size, int], ServiceTime] = {}
        self._unfit: dict[Size, str] = {}
        self._unbatched: set[tuple[int, Size]] = set()

    @property
    def model(self) -> str:
        """The network in use."""
        return self.models[self._ladder.rung]

    @property
    def lockout_reason(self) -> str | None:
        """Why networks are left alone; None while they are not."""
        return self._lockout.reason if self._lockout.is_locked else None

    def estimate_ns(self, size: Size, count: int = 1, rung: int | None = None) -> int | None:
        """How long a network (the one in use) takes for ``count`` frames at once; None before it is warm for them."""
        times = self._times.get((self._ladder.rung if rung is None else rung, size, count))
        return None if times is None else times.estimate_ns

    def decide(self, size: Size, left_ns: int | None, now_ns: int) -> Decision:
        """Say what to do with a frame that must be restored within ``left_ns``."""
        if size in self._unfit:
            return Decision("pass", state=Terminal.PASS_SHAPE, reason=self._unfit[size])
        if not self._lockout.allows(now_ns):
            reason = f"left alone after {FAILURES_MAX} failures in a row: {self._lockout.reason}"
            return Decision("pass", state=Terminal.PASS_FAULT, reason=reason)
        for rung in range(len(self.models)):
            if (rung, size, 1) not in self._times:
                return Decision("warm_up", rung, state=Terminal.PASS_WARMUP)
        if self._ladder.wants_retry(now_ns):
            return Decision("run", self._ladder.rung - 1, is_probe=True)
        rung = self._ladder.rung
        times = self._times[rung, size, 1]
        verdict = times.verdict(left_ns) if self._has_control else "run"
        if verdict != "refuse":
            return Decision("run", rung, is_probe=verdict == "probe")
        left_ms = max(left_ns or 0, 0) / 1e6
        reason = f"{self.models[rung]} needs {times.estimate_ns / 1e6:.1f} ms, {left_ms:.1f} are left"
        return Decision("pass", rung, state=Terminal.PASS_ADMISSION, reason=reason)

    def decide_batch(
        self, alone: Decision, size: Size, lefts_ns: Sequence[int | None], most: int
    ) -> tuple[Decision, list[int]]:
        """Say which waiting frames go through a network together.

        Args:
            alone: What ``decide`` said of the first one: a run.
            size: Of all of them.
            lefts_ns: Of each, the time until its deadline.
            most: Frames that may come together at other times.

        Returns:
            What is done, and the numbers of the frames it is done with, the first one among them.
        """
        wanted = self._batch_to_prepare(alone.rung, size, most)
        if wanted is not None and not alone.is_probe:
            return Decision("warm_up", alone.rung, wanted, Terminal.PASS_WARMUP), [0]
        for count in range(len(lefts_ns), 1, -1):
            if (alone.rung, size, count) not in self._times:
                continue
            times, worth_ns = self._times[alone.rung, size, count], self._worth_ns(alone.rung, size, count)
            limits_ns = [worth_ns] if lefts_ns[0] is None or not self._has_control else [worth_ns, lefts_ns[0]]
            is_retry = alone.rung < self._ladder.rung
            verdict = "probe" if is_retry else times.verdict(min(limits_ns))
            needed_ns = times.estimate_ns if verdict == "run" and self._has_control else 0
            fit = [number for number, left_ns in enumerate(lefts_ns) if left_ns is None or left_ns >= needed_ns]
            if verdict != "refuse" and len(fit) >= count:
                is_probe = alone.is_probe or verdict == "probe"
                return replace(alone, count=count, is_probe=is_probe), fit[:count]
        return alone, [0]

    def largest_batch(self, size: Size, most: int) -> int:
        """The most frames, up to ``most``, that the network in use should restore at once."""
        for count in range(most, 1, -1):
            estimate_ns = self.estimate_ns(size, count)
            if estimate_ns is not None and estimate_ns <= self._worth_ns(self._ladder.rung, size, count):
                return count
        return 1

    def _worth_ns(self, rung: int, size: Size, count: int) -> int:
        """How long ``count`` frames at once may take, to be worth it."""
        return round(BATCH_GAIN * count * self._times[rung, size, 1].estimate_ns)

    def _batch_to_prepare(self, rung: int, size: Size, most: int) -> int | None:
        if (rung, size) in self._unbatched:
            return None
        counts = range(2, min(most, self._batch_max[rung]) + 1)
        return next((count for count in counts if (rung, size, count) not in self._times), None)

    def batch_failed(self, decision: Decision, size: Size, reason: str) -> None:
        """Record that a run of several frames, or preparing for it, failed: only fewer at once are tried again."""
        self._refuse_batches(decision.rung, size, decision.count, reason)

    def _refuse_batches(self, rung: int, size: Size, count: int, reason: str) -> None:
        self._unbatched.add((rung, size))
        for more in range(count, BATCH_MAX + 1):
            self._times.pop((rung, size, more), None)
        text = "%s takes frames of %dx%d of synchronised cameras at most %d at once: %s"
        logger.info(text, self.models[rung], *size, count - 1, reason)

    def warmed_up(self, decision: Decision, size: Size, runs_ns: Sequence[int]) -> None:
        """Record that a network is ready for ``size`` and how long it took."""
        rung, count = decision.rung, decision.count
        times = self._times[rung, size, count] = ServiceTime(runs_ns)
        if count > 1 and times.estimate_ns > self._worth_ns(rung, size, count):
            ratio = times.estimate_ns / self._times[rung, size, 1].estimate_ns
            self._refuse_batches(rung, size, count, f"{count} take as long as {ratio:.1f} one after the other")

    def is_unfit(self, size: Size, reason: str) -> None:
        """Record that frames of ``size`` do not fit the networks."""
        self._unfit[size] = reason
        logger.warning("frames of %dx%d go out untouched: %s", *size, reason)

    def ran(self, decision: Decision, size: Size, service_ns: int, left_ns: int | None) -> None:
        """Record a run that gave a picture; ``left_ns`` was the time until the deadline at its start."""
        self._lockout_cleared()
        times = self._times.get((decision.rung, size, decision.count))
        if times is None:
            return
        if decision.count > 1:
            worth_ns = self._worth_ns(decision.rung, size, decision.count)
            left_ns = worth_ns if left_ns is None else min(worth_ns, left_ns)
            # one frame takes no longer than several; alone they may not have run for long
            self._times[decision.rung, size, 1].limit(service_ns)
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
