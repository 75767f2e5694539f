"""What becomes of a captured frame: the terminal states, and the frame with its state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..datasets.resizing import enlarge_bicubic
from .frame import Frame, Pixels


class Terminal(Enum):
    """How a captured frame ended; every frame has exactly one.

    ``PASS_*``: the untouched frame went out. ``DROPPED_*``: nothing went out.
    """

    DEBLURRED = "deblurred"
    #: the blur gate found nothing to restore
    PASS_SHARP = "pass_sharp"
    #: the network was not done in time
    PASS_DEADLINE = "pass_deadline"
    #: the network could not have been done in time, so it was not started
    PASS_ADMISSION = "pass_admission"
    #: a newer frame came before the network was free
    PASS_SUPERSEDED = "pass_superseded"
    #: the network failed, hung, or gave a picture that cannot be right
    PASS_FAULT = "pass_fault"
    #: the network was being prepared for this size
    PASS_WARMUP = "pass_warmup"
    #: the network does not take this size
    PASS_SHAPE = "pass_shape"
    DROPPED_POLICY = "dropped_policy"
    DROPPED_SHUTDOWN = "dropped_shutdown"

    @property
    def is_dropped(self) -> bool:
        """Whether nothing of the frame went out."""
        return self in (Terminal.DROPPED_POLICY, Terminal.DROPPED_SHUTDOWN)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A frame that has ended, and what goes out for it.

    Attributes:
        frame: The untouched frame.
        restored: What the network gave; the pixels of ``frame``, enlarged bicubically where the network
            enlarges, unless ``state`` is ``DEBLURRED``. Nobody writes into it.
        state: How it ended.
        reason: Why, in one line; empty where the state says it all.
        model: What restored it; empty where nothing did.
        deadline_ns: When it had to be out, on the clock of ``frame.t_capture_ns``; None without a deadline.
        stages_ms: ``queue`` until the network started, ``network``, ``hold`` until earlier frames were
            out; together the time from capture to going out.
    """

    frame: Frame
    restored: Pixels
    state: Terminal
    reason: str = ""
    model: str = ""
    deadline_ns: int | None = None
    stages_ms: tuple[tuple[str, float], ...] = ()

    @property
    def total_ms(self) -> float:
        """From capture to going out."""
        return sum(duration_ms for _, duration_ms in self.stages_ms)


def enlarged(result: Result, scale: int) -> Pixels:
    """What goes out for ``result``, at ``scale`` times the size of its frame."""
    if scale == 1 or result.state is Terminal.DEBLURRED:
        return result.restored
    return enlarge_bicubic(result.frame.pixels, scale)
