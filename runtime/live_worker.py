"""The thread that runs the networks, and the ones that replace it when it hangs."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from ..core.errors import ContractError, UsageError
from .any_network import Network, OpenNetworks
from .guard import Guard, checked_session
from .live_flow import Flow
from .live_lane import Lane
from .network_job import Job, Outcome
from .pipeline import clean_up
from .session import Session
from .source_health import Backoff, HealthLimits

logger = logging.getLogger(__name__)

#: runs timed at warm-up, to begin the estimate with
TIMED_RUNS = 3
#: threads still hanging that end deblurring for good: each keeps its memory
STUCK_MAX = 3
#: networks are opened anew at once, within a minute again after 1 s, then twice as long each time
RESTARTS = HealthLimits(first_retry_s=0.5, longest_retry_s=60.0, healthy_s=60.0)
#: how long a run that was cancelled is waited for
CANCEL_S = 1.0
#: how long a worker waits before it looks whether it shall end
LOOK_S = 0.5


class LiveWorker:
    """Runs jobs of a flow one after the other.

    A thread cannot be ended from outside. When its network hangs, the run is cancelled, which ends a process
    of its own and stops some libraries; where neither helps, the thread is left to itself with its networks.
    Another thread opens them anew, sooner or later by how long they worked. One that comes back closes what it
    holds and ends.

    Args:
        flow: Gives the jobs.
        lock: Held around every call of the flow.
        wake_timer: Called, with the lock held, when a deadline may have come nearer.
        networks: Largest first; closed at the end.
        reopen: Opens them anew; None where that is not possible.

    Attributes:
        restarts: Times another thread had to open the networks anew.
        defect: What ended the thread; None unless something of ours is broken.
        has_work: Notified, with the lock held, when there may be a job.
    """

    def __init__(
        self,
        flow: Flow,
        lock: threading.RLock,
        wake_timer: Callable[[], None],
        networks: Sequence[Network],
        reopen: OpenNetworks | None,
    ) -> None:
        self.restarts = 0
        self.defect: BaseException | None = None
        self.has_work = threading.Condition(lock)
        self._flow, self._lock, self._wake_timer, self._reopen = flow, lock, wake_timer, reopen
        self._generation = 0
        self._is_replacing = self._is_cancelled = self._has_waited = False
        self._scale = networks[0].contract.scale
        self._backoff, self._opened_s = Backoff(RESTARTS), time.monotonic()
        self._given_up: list[threading.Thread] = []
        self._networks = list(networks)
        self._thread = self._start(self._networks)

    def watch(self) -> None:
        """Replace the thread where it was given up; call now and then."""
        with self._lock:
            if not self._flow.down or self._is_replacing:
                return
            self._generation += 1
            self._is_replacing = True
            self._given_up.append(self._thread)
            cancelled = [network.cancel() for network in self._networks]
            self._is_cancelled = any(cancelled)
            if self._reopen is None:
                logger.warning("the network is not opened again; frames go out untouched from now on")
                return
            self.restarts += 1
            self._thread = self._start(None)

    def stop(self, timeout_s: float) -> None:
        """End the thread and close the networks.

        After ``timeout_s`` its run is cancelled; a thread that goes on after that is left to itself.
        """
        with self._lock:
            self._generation += 1
            self.has_work.notify_all()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            for network in self._networks:
                network.cancel()
            self._thread.join(CANCEL_S)

    def _start(self, networks: list[Network] | None) -> threading.Thread:
        generation = self._generation
        thread = threading.Thread(target=self._run, args=(generation, networks), name="network", daemon=True)
        thread.start()
        return thread

    def _run(self, generation: int, networks: list[Network] | None) -> None:
        try:
            if networks is None:
                networks = self._opened_anew(generation)
            self._work(generation, networks)
        except BaseException as error:
            self.defect = error
        finally:
            for network in networks or ():
                clean_up(network.close)

    def _opened_anew(self, generation: int) -> list[Network]:
        """Open the networks, again and again until it succeeds; none where the run ended or that is no use."""
        assert self._reopen is not None
        if self._is_cancelled:  # what it holds of a device may be needed
            self._given_up[-1].join(CANCEL_S)
        while self._waited(generation):
            self._given_up = [thread for thread in self._given_up if thread.is_alive()]
            if len(self._given_up) >= STUCK_MAX:
                logger.warning("the network hangs in %d threads; frames go out untouched from now on", STUCK_MAX)
                break
            self._opened_s = time.monotonic()
            try:
                networks = list(self._reopen())
            except Exception as error:
                with self._lock:
                    self._flow.down = f"the network cannot be opened again: {error}"
                logger.warning("%s; that is tried again", self._flow.down)
                continue
            with self._lock:
                self._networks = networks
                self._opened_s = time.monotonic()
                self._flow.restarted()
                self._is_replacing = False
            return networks
        return []

    def _waited(self, generation: int) -> bool:
        """Wait before the networks are opened anew; whether they are still wanted then."""
        worked_s = time.monotonic() - self._opened_s
        wait_s = self._backoff.after(worked_s)
        if not self._has_waited or worked_s >= RESTARTS.healthy_s:
            self._has_waited, wait_s = True, 0.0
        until_s = time.monotonic() + wait_s
        with self._lock:
            while generation == self._generation and (left_s := until_s - time.monotonic()) > 0:
                self.has_work.wait(left_s)
            return generation == self._generation

    def _work(self, generation: int, networks: Sequence[Network]) -> None:
        checked = [checked_session(network) if isinstance(network, Session) else network for network in networks]
        guards = {lane: Guard(self._scale) for lane in self._flow.lanes}
        while (job := self._next_job(generation)) is not None:
            outcome = perform(job, checked, guards)
            with self._lock:
                if (lost := checked[job.decision.rung].lost_reason) and generation == self._generation:
                    self._flow.give_up(lost, time.monotonic_ns())
                    return
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


def perform(job: Job, sessions: Sequence[Network], guards: Mapping[Lane, Guard]) -> Outcome:
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


def check_ladder(sessions: Sequence[Network]) -> None:
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


def _warmed_up(job: Job, session: Network) -> Outcome:
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
