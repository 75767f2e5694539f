"""What a worker is given to do, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from .admission import Decision
from .frame import Pixels
from .live_lane import Entry, Lane


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One thing for the worker to do: restore frames of one size in one run, or prepare for that.

    Attributes:
        decision: ``run`` or ``warm_up``, which network, and how many frames at once.
        frames: The frames, each with its camera; the one whose turn it is first. To prepare, that one alone.
        started_ns: When the worker took it.
        hangs_at_ns: When the worker is given up.
    """

    decision: Decision
    frames: tuple[tuple[Lane, Entry], ...]
    started_ns: int
    hangs_at_ns: int

    @property
    def lane(self) -> Lane:
        """The camera whose turn it is."""
        return self.frames[0][0]

    @property
    def entry(self) -> Entry:
        """Its frame."""
        return self.frames[0][1]

    @property
    def is_batch_warm_up(self) -> bool:
        """Whether several frames at once are prepared for, which need not succeed."""
        return self.decision.action == "warm_up" and self.decision.count > 1


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of a job.

    Attributes:
        restored: The pictures of a run, in the order of the job's frames.
        faults: Of each picture, why it cannot be right; empty texts where nothing is wrong.
        fault: Why all of it failed; empty where it did not.
        is_unfit: The network does not take this size; only while preparing for it.
        runs_ns: Durations measured while preparing.
    """

    restored: tuple[Pixels, ...] = ()
    faults: tuple[str, ...] = ()
    fault: str = ""
    is_unfit: bool = False
    runs_ns: tuple[int, ...] = ()
