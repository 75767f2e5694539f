"""What a live source promises: frames that arrive by themselves, and what happens between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from .frame import Frame
from .latency import LatencyRecorder

#: what can happen to a live source; ``failed`` is final, everything else may be followed by frames
EventKind = Literal["opened", "lost", "reconnecting", "failed", "epoch", "gap", "corrupt", "frozen", "moving"]


@dataclass(frozen=True, slots=True)
class SourceEvent:
    """Something that happened to a source and is no frame.

    Attributes:
        kind: ``opened`` the first time and after each reconnect; ``lost`` when frames stop;
            ``reconnecting`` before each attempt; ``failed`` when there will be no more; ``epoch`` when
            the size or format changed; ``gap`` for frames the source knows it missed; ``corrupt`` for
            frames it withheld because they were damaged; ``frozen`` when the same picture comes again
            and again, ``moving`` when others come after that.
        reason: One line for people, without credentials.
        epoch: Epoch the event belongs to.
        count: Frames concerned, for ``gap``, ``corrupt`` and ``frozen``.
    """

    kind: EventKind
    reason: str
    epoch: int
    count: int = 0


class LiveSource(Protocol):
    """Gives frames one at a time, as they arrive.

    Frames carry ``stream``, ``epoch`` (grows with every reconnect and change of format), ``seq``
    (strictly increasing within an epoch) and ``t_capture_ns`` of ``time.monotonic_ns()``. A source
    reconnects by itself; it raises nothing for what a camera or network can do, it says so in events.
    One that is not live, such as a file that is played, ends with ``lost``.
    """

    @property
    def name(self) -> str:
        """URI without credentials."""

    @property
    def is_live(self) -> bool:
        """Whether frames arrive by themselves and may be dropped."""

    @property
    def fps(self) -> float | None:
        """Nominal frames per second; None where unknown."""

    def read(self, timeout_s: float) -> Frame | SourceEvent | None:
        """Wait for the next frame or event; None when there was nothing within ``timeout_s``.

        A source that is closed, or has failed, returns None at once and for ever.
        """

    def close(self) -> None:
        """Release everything and end a ``read`` in another thread; closing twice is fine."""


@runtime_checkable
class Waiting(Protocol):
    """A live source whose frames do not come before the first ``read``, and whose size is known by then.

    A run prepares its networks before it reads one.
    """

    @property
    def first_size(self) -> tuple[int, int]:
        """Height and width of the first frames."""


@runtime_checkable
class Scheduled(Protocol):
    """A live source that gives frames by a timetable of its own, however slowly they are taken.

    Attributes:
        lateness: How much later than planned frames were given, stage ``lateness``.
    """

    lateness: LatencyRecorder
