"""One camera's frames between capture and going out: mailbox of one, deadline, order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .frame import Frame, Pixels
from .ledger import Ledger
from .terminal import Result, Terminal

#: an untouched frame goes out this much before its deadline, and a network must be done by then, until it is
#: known how late threads wake here (``WakeLateness``)
GUARD_NS = 1_500_000
#: frames that may wait for an earlier one, or for their time; of more, those that wait for one are dropped, so
#: that memory stays bounded
HELD_MAX = 64

#: of a camera that does not say: 30 frames per second
USUAL_PERIOD_NS = 33_333_333

#: takes what goes out, in order; must not wait
Deliver = Callable[[Result], None]


@dataclass(slots=True, eq=False)
class Entry:
    """A frame inside a lane.

    Attributes:
        frame: The untouched frame.
        release_ns: When it goes out untouched at the latest; None without a deadline.
        deadline_ns: When it must be out; None without a deadline.
        came_ns: When it came in.
        previous: The frame before, where nothing lies between; for networks that look at it.
        started_ns: When a network took it.
        restored: What the network gave.
        ended_ns: When its state was known; None before.
        state: Its terminal state, once it has ended.
        reason: Why.
        model: What restored it.
    """

    frame: Frame
    release_ns: int | None
    deadline_ns: int | None = None
    came_ns: int = 0
    previous: Pixels | None = None
    started_ns: int | None = None
    restored: Pixels | None = None
    ended_ns: int | None = None
    state: Terminal | None = None
    reason: str = ""
    model: str = ""

    def left_ns(self, now_ns: int) -> int | None:
        """Time until it goes out untouched; None without a deadline."""
        return None if self.release_ns is None else self.release_ns - now_ns


class Lane:
    """Holds one camera's frames; the caller holds the lock around every call.

    Args:
        ledger: The camera's account.
        deliver: Takes results as they go out.
        deadline_ns: From capture to going out; None for no deadline.
        period_ns: Between two frames of the camera.

    Attributes:
        mailbox: The newest frame no network has taken yet.
        guard_ns: How long before its deadline a frame goes out untouched.
        is_paced: Whether restored frames, too, wait until an untouched one would go out.
        turn: Counts its turns at the networks; the camera with the lowest is next.
    """

    def __init__(
        self, ledger: Ledger, deliver: Deliver, deadline_ns: int | None = None, period_ns: int = USUAL_PERIOD_NS
    ) -> None:
        self.ledger = ledger
        self.deadline_ns, self.period_ns = deadline_ns, period_ns
        self.mailbox: Entry | None = None
        self.guard_ns = GUARD_NS
        self.is_paced = False
        self.turn = 0
        self._deliver = deliver
        self._order: deque[Entry] = deque()
        self._last: Frame | None = None

    @property
    def inside(self) -> int:
        """Frames that came and have not gone."""
        return len(self._order)

    @property
    def expected_ns(self) -> int | None:
        """When the next frame should come; None before the first."""
        return None if self._last is None else self._last.t_capture_ns + self.period_ns

    @property
    def last_size(self) -> tuple[int, int] | None:
        """Height and width of the last frame; None before the first."""
        return None if self._last is None else self._last.size

    def add(self, frame: Frame, now_ns: int) -> Entry:
        """Take a captured frame; it is not in the mailbox yet."""
        self.ledger.add_captured(frame)
        last, self._last = self._last, frame
        is_next = last is not None and (last.epoch, last.seq + 1, last.size) == (frame.epoch, frame.seq, frame.size)
        entry = Entry(frame, None, came_ns=now_ns, previous=last.pixels if last is not None and is_next else None)
        if self.deadline_ns is not None:
            entry.deadline_ns = frame.t_capture_ns + self.deadline_ns
            entry.release_ns = entry.deadline_ns - self.guard_ns
        self._order.append(entry)
        return entry

    def end(self, entry: Entry, state: Terminal, now_ns: int, reason: str = "") -> None:
        """Give a frame its terminal state; it and the ones held behind it go out."""
        assert entry.state is None, f"frame {entry.frame.seq} ended as {entry.state}, and again as {state}"
        first = self._order[0]
        waits_for_first = first is not entry and first.state is None
        if len(self._order) > HELD_MAX and waits_for_first and state is not Terminal.DEBLURRED:
            state, reason = Terminal.DROPPED_POLICY, f"{HELD_MAX} frames wait for an earlier one"
        entry.state, entry.ended_ns, entry.reason = state, now_ns, reason
        if self.mailbox is entry:
            self.mailbox = None
        if state.is_dropped:
            self._order.remove(entry)
            self._release(entry, now_ns)
        self.let_out(now_ns)

    def let_out(self, now_ns: int) -> None:
        """Let out, in order, the frames that have ended; at a constant pace those whose time has come.

        Where too many wait for their time, the first one goes out before it.
        """
        while self._order and self._order[0].state is not None:
            if len(self._order) <= HELD_MAX and (self._held_until_ns or now_ns) > now_ns:
                return
            self._release(self._order.popleft(), now_ns)

    @property
    def _held_until_ns(self) -> int | None:
        """When the first frame may go out at a constant pace; None where it need not wait."""
        return self._order[0].release_ns if self.is_paced and self._order else None

    def due(self, now_ns: int) -> list[Entry]:
        """Frames that must go out now."""
        return [entry for entry in self._order if _is_open(entry) and (entry.left_ns(now_ns) or 0) <= 0]

    def wake_ns(self) -> int | None:
        """When the next frame must go out; None where none must."""
        times_ns = [entry.release_ns for entry in self._order if _is_open(entry)]
        return min((time_ns for time_ns in (*times_ns, self._held_until_ns) if time_ns is not None), default=None)

    def unended(self) -> list[Entry]:
        """Frames without terminal state."""
        return [entry for entry in self._order if entry.state is None]

    def _release(self, entry: Entry, now_ns: int) -> None:
        assert entry.state is not None
        assert entry.ended_ns is not None
        frame, ended_ns = entry.frame, entry.ended_ns
        started_ns = ended_ns if entry.started_ns is None else entry.started_ns
        stages_ns = (
            ("queue", started_ns - frame.t_capture_ns),
            ("network", ended_ns - started_ns),
            ("hold", now_ns - ended_ns),
        )
        result = Result(
            frame=frame,
            restored=frame.pixels if entry.restored is None else entry.restored,
            state=entry.state,
            reason=entry.reason,
            model=entry.model,
            deadline_ns=entry.deadline_ns,
            stages_ms=tuple((stage, duration_ns / 1e6) for stage, duration_ns in stages_ns),
        )
        self.ledger.add_ended(result)
        if not entry.state.is_dropped:
            self._deliver(result)


def _is_open(entry: Entry) -> bool:
    return entry.state is None and entry.release_ns is not None
