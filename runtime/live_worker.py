"""The thread that runs the networks, and the ones that replace it when it hangs."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from ..core.errors import ContractError, UsageError
from .guard import Guard, checked_session
from .live_flow import Flow
from .live_lane import Lane
from .network_job import Job, Outcome
from .pipeline import clean_up
from .session import Session

logger = logging.getLogger(__name__)

#: runs timed at warm-up, to begin the estimate with
TIMED_RUNS = 3
#: workers given up before deblurring ends for good: each may keep its memory for ever
ABANDONED_MAX = 3
#: how long a worker waits before it looks whether it shall end
LOOK_S = 0.5

#: opens the networks, largest first; called again in a new thread when one hangs
OpenSessions = Callable[[], Sequence[Session]]


class LiveWorker:
    """Runs jobs of a flow one after the other.

    A thread cannot be ended from outside: one that hangs is left to itself, with its networks, and
    another one opens them anew. If it ever comes back it closes what it holds and ends.

    Args:
        flow: Gives the jobs.
        lock: Held around every call of the flow.
        wake_timer: Called, with the lock held, when a deadline may have come nearer.
        sessions: The networks, largest first; closed at the end.
        reopen: Opens them anew; None where that is not possible.

    Attributes:
        abandoned: Threads given up so far.
        defect: What ended the thread; None unless something of ours is broken.
        has_work: Notified, with the lock held, when there may be a job.
    """

    def __init__(
        self,
        flow: Flow,
        lock: threading.RLock,
        wake_timer: Callable[[], None],
        sessions: Sequence[Session],
        reopen: OpenSessions | None,
    ) -> None:
        self.abandoned = 0
        self.defect: BaseException | None = None
        self.has_work = threading.Condition(lock)
        self._flow, self._lock, self._wake_timer, self._reopen = flow, lock, wake_timer, reopen
        self._generation = 0
        self._is_replacing = False
        self._scale = sessions[0].contract.scale
        self._thread = self._start(list(sessions))

    def watch(self) -> None:
        """Replace the thread where it was given up; call now and then."""
        with self._lock:
            if not self._flow.down or self._is_replacing:
                return
            self.abandoned += 1
            self._generation += 1
            self._is_replacing = True
            if self._reopen is None or self.abandoned >= ABANDONED_MAX:
                logger.warning("the network is not opened again; frames go out untouched from now on")
                return
            self._thread = self._start(None)

    def stop(self, timeout_s: float) -> None:
        """End the thread and close the networks; after ``timeout_s`` it is left to itself."""
        with self._lock:
            self._generation += 1
            self.has_work.notify_all()
        self._thread.join(timeout_s)

    def _start(self, sessions: list[Session] | None) -> threading.Thread:
        generation = self._generation
        thread = threading.Thread(target=self._run, args=(generation, sessions), name="network", daemon=True)
        thread.start()
        return thread

    def _run(self, generation: int, sessions: list[Session] | None) -> None:
        try:
            if sessions is None:
                sessions = self._opened_anew()
            self._work(generation, sessions)
        except BaseException as error:
            self.defect = error
        finally:
            for session in sessions or ():
                clean_up(session.close)

    def _opened_anew(self) -> list[Session]:
        assert self._reopen is not None
        try:
            sessions = list(self._reopen())
        except Exception as error:
            with self._lock:
                self._flow.down = f"the network cannot be opened again: {error}"
            logger.warning("%s; frames go out untouched from now on", self._flow.down)
            return []
        with self._lock:
            self._flow.restarted()
            self._is_replacing = False
        return sessions

    def _work(self, generation: int, sessions: list[Session]) -> None:
        checked = [checked_session(session) for session in sessions]
        guards = {lane: Guard(self._scale) for lane in self._flow.lanes}
        while (job := self._next_job(generation)) is not None:
            outcome = perform(job, checked, guards)
            with self._lock:
                self._flow.finish(job, outcome, time.monotonic_ns())

    def _next_job(self, generation: int) -> Job | None:
        with self._lock:
            while generation == self._generation:
                now_ns = time.monotonic_ns()
                job = self._flow.next_job(now_ns)
                if job is not None:
                    self._wake_timer()
                    return job
                collects_until_ns = self._flow.collects_until_ns
                self.has_work.wait(LOOK_S if collects_until_ns is None else (collects_until_ns - now_ns) / 1e9)
        return None


def perform(job: Job, sessions: Sequence[Session], guards: Mapping[Lane, Guard]) -> Outcome:
    """Do one job; whatever goes wrong becomes part of the outcome."""
    session = sessions[job.decision.rung]
    try:
        if job.decision.action == "warm_up":
            return _warmed_up(job, session)
        pictures = [entry.frame.pixels for _, entry in job.frames]
        restored = session.restore_batch(pictures, [entry.previous for _, entry in job.frames])
        pairs = zip(job.frames, pictures, restored, strict=True)
        return Outcome(tuple(restored), tuple(guards[lane].fault(pixels, given) for (lane, _), pixels, given in pairs))
    except ContractError as error:
        is_unfit = job.decision.action == "warm_up" and not job.is_batch_warm_up
        return Outcome(fault=str(error), is_unfit=is_unfit)
    except Exception as error:  # networks may be anybody's; the frame goes out untouched
        return Outcome(fault=str(error) or type(error).__name__)


def check_ladder(sessions: Sequence[Session]) -> None:
    """Refuse networks that cannot stand in for each other.

    Raises:
        UsageError: Their pictures have different sizes.
    """
    for session in sessions[1:]:
        if session.contract.scale != sessions[0].contract.scale:
            raise UsageError(
                f"{session.model} enlarges {session.contract.scale} times and {sessions[0].model} "
                f"{sessions[0].contract.scale} times; the networks of a ladder must do the same"
            )


def _warmed_up(job: Job, session: Session) -> Outcome:
    pictures = [job.entry.frame.pixels] * job.decision.count
    if job.is_batch_warm_up:
        session.restore_batch(pictures, [None] * len(pictures))
    else:
        session.warm_up(job.entry.frame.size)
    times_ns = [time.perf_counter_ns()]
    for _ in range(TIMED_RUNS):
        session.restore_batch(pictures, [None] * len(pictures))
        times_ns.append(time.perf_counter_ns())
    return Outcome(runs_ns=tuple(after - before for before, after in itertools.pairwise(times_ns)))
