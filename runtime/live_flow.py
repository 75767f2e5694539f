"""What happens to live frames, and when: every decision, without threads and without a clock."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Sequence
from typing import Literal

import numpy as np

from .admission import Admission, Decision
from .batching import Batching
from .frame import Frame
from .live_lane import Entry, Lane
from .network_job import Job, Outcome
from .terminal import Terminal

logger = logging.getLogger(__name__)

#: what happens to frames that come too fast or are restored too late
#: ``drop``: skipped ones are dropped, late ones go out late; ``pass``: untouched ones go out in time;
#: ``admit``: the same, and the network starts only what it can finish
LatePolicy = Literal["drop", "pass", "admit"]

#: a network that gives nothing for so long, and for so many times its usual time, hangs
HANG_NS = 2_000_000_000
HANG_TIMES = 10
#: preparing for a size may compile; for several frames at once, which need not be, it has less time
WARM_UP_HANG_NS = 300_000_000_000
BATCH_WARM_UP_HANG_NS = 60_000_000_000


class Flow:
    """Decides for every frame of every camera; the caller holds one lock around every call.

    Times are nanoseconds of ``time.monotonic_ns()``, or of a test's own clock.

    Args:
        lanes: One per camera.
        admission: Which network may start what.
        late: What happens to frames that cannot be restored in time.

    Attributes:
        down: Why there is no worker; empty while there is one.
        job: What the worker does.
        batches: Runs of the networks by the number of frames restored at once.
        collects_until_ns: When ``next_job`` is to be called again for frames that wait for those of other
            cameras; None where none do.
    """

    def __init__(self, lanes: Sequence[Lane], admission: Admission, late: LatePolicy = "admit") -> None:
        self.lanes, self.admission = tuple(lanes), admission
        self.down = ""
        self.job: Job | None = None
        self.batches: Counter[int] = Counter()
        self.collects_until_ns: int | None = None
        self._batching = Batching(self.lanes, admission)
        self._late = late
        self._is_stopped = False
        self._turn = 0
        self._ahead: deque[tuple[Lane, tuple[int, int]]] = deque()

    def prepare(self, lane: Lane, size: tuple[int, int]) -> None:
        """Have the networks prepared for frames of ``size`` before the first one comes."""
        self._ahead.append((lane, size))

    @property
    def is_preparing(self) -> bool:
        """Whether there is something left of what ``prepare`` was told, and a worker for it."""
        return bool(self._ahead) and not self.down

    def arrive(self, lane: Lane, frame: Frame, now_ns: int, sharp_reason: str = "") -> None:
        """Take a captured frame; with a reason why it is sharp it goes out untouched."""
        entry = lane.add(frame, now_ns)
        self._batching.arrived(lane, frame.t_capture_ns, now_ns)
        if self._is_stopped:
            self._end(lane, entry, Terminal.DROPPED_SHUTDOWN, now_ns)
        elif sharp_reason:
            self._end(lane, entry, Terminal.PASS_SHARP, now_ns, sharp_reason)
        elif self.down:
            self._end(lane, entry, Terminal.PASS_FAULT, now_ns, self.down)
        elif self.job is not None and self.job.decision.action == "warm_up":
            self._end(lane, entry, Terminal.PASS_WARMUP, now_ns)
        else:
            self._displace(lane, now_ns)
            lane.mailbox = entry

    def next_job(self, now_ns: int) -> Job | None:
        """Give the worker something to do; None where nothing may start. Fewest turns come first."""
        self.tick(now_ns)
        self.collects_until_ns = None
        if self.job is not None or self.down or self._is_stopped:
            return None
        while self._ahead:
            lane, size = self._ahead[0]
            decision = self.admission.decide(size, None, now_ns)
            if decision.action == "warm_up":
                return self._start(decision, [(lane, _blank_entry(size, now_ns))], now_ns)
            self._ahead.popleft()
        for lane in sorted(self.lanes, key=lambda lane: lane.turn):
            entry = lane.mailbox
            if entry is None:
                continue
            self.collects_until_ns = self._batching.collect_until_ns(lane, now_ns)
            if self.collects_until_ns is not None:
                return None
            if self._is_others_turn(lane, now_ns):
                self._end(lane, entry, Terminal.PASS_ADMISSION, now_ns, "it is another camera's turn")
                continue
            decision, frames = self._batching.decide(lane, now_ns)
            if decision.action != "run":
                assert decision.state is not None
                self._end(lane, entry, decision.state, now_ns, decision.reason)
            if decision.action != "pass":
                return self._start(decision, frames, now_ns)
        return None

    def finish(self, job: Job, outcome: Outcome, now_ns: int) -> None:
        """Take what the worker made; nothing of a worker that was given up."""
        if job is not self.job:
            return
        self.tick(now_ns)
        if job is not self.job:
            return
        self.job = None
        size = job.entry.frame.size
        if outcome.is_unfit:
            self.admission.is_unfit(size, outcome.fault)
        elif outcome.fault:
            self._fail(job, outcome.fault, now_ns)
        elif job.decision.action == "warm_up":
            self.admission.warmed_up(job.decision, size, outcome.runs_ns)
            if job.decision.count == 1 and self._model_of(job) == self.admission.model:
                self._tell_deadline(job.lane, size)
        else:
            self._settle(job, outcome, now_ns)

    def tick(self, now_ns: int) -> None:
        """Let out what is due, and give up a worker that hangs."""
        for lane in self.lanes:
            for entry in lane.due(now_ns) if self._late != "drop" else ():
                reason = "the network is late" if entry.started_ns is not None else "the network was busy"
                self._end(lane, entry, Terminal.PASS_DEADLINE, now_ns, reason)
            lane.let_out(now_ns)
        if self.job is not None and now_ns >= self.job.hangs_at_ns:
            seconds = (now_ns - self.job.started_ns) / 1e9
            self.give_up(f"{self._model_of(self.job)} gave nothing for {seconds:.1f} s", now_ns)

    def give_up(self, reason: str, now_ns: int) -> None:
        """Let the worker go, which is to be replaced; what it was doing and what waits goes out untouched."""
        job, self.job, self.down = self.job, None, reason
        logger.warning("%s; it is given up and opened anew", reason)
        if job is not None:
            self._fail(job, reason, now_ns)
        self._pass_waiting(now_ns)

    def wake_ns(self) -> int | None:
        """When ``tick`` is needed next; None where nothing is waited for."""
        times = [] if self._late == "drop" else [lane.wake_ns() for lane in self.lanes]
        times.append(None if self.job is None else self.job.hangs_at_ns)
        return min((time_ns for time_ns in times if time_ns is not None), default=None)

    def keep_before_deadlines(self, guard_ns: int | None) -> None:
        """Let frames that come from now on out so much before their deadline; None changes nothing."""
        for lane in self.lanes:
            lane.guard_ns = lane.guard_ns if guard_ns is None else guard_ns

    def restarted(self) -> None:
        """Record that there is a new worker with networks opened anew."""
        self.down = ""
        self.admission.forget()

    def stop(self, now_ns: int) -> None:
        """End everything inside, and let out what waits; frames that still come are counted and dropped."""
        self._is_stopped = True
        self.job = None
        for lane in self.lanes:
            for entry in lane.unended():
                self._end(lane, entry, Terminal.DROPPED_SHUTDOWN, now_ns)
            lane.is_paced = False
            lane.let_out(now_ns)

    @property
    def is_empty(self) -> bool:
        """Whether every captured frame has ended."""
        return not any(lane.inside for lane in self.lanes)

    def imbalances(self) -> list[str]:
        """Check every camera's account; empty where all balance."""
        found = [lane.ledger.imbalance(lane.inside) for lane in self.lanes]
        return [problem for problem in found if problem is not None]

    def _is_others_turn(self, lane: Lane, now_ns: int) -> bool:
        """Whether a camera with fewer turns is about to give a frame, which a run now would make too late."""
        if self._late != "admit" or lane.mailbox is None or lane.deadline_ns is None:
            return False
        size = lane.mailbox.frame.size
        run_ns = self.admission.estimate_ns(size) or 0
        count = self.admission.largest_batch(size, len(self._batching.group(lane)))
        own_ns = self.admission.estimate_ns(size, count) or 0
        near_ns = [
            other.expected_ns
            for other in self.lanes
            if other.turn < lane.turn
            and other.mailbox is None
            and not self._batching.has_waited(lane, other)
            and other.expected_ns is not None
            and now_ns - other.period_ns // 2 <= other.expected_ns <= now_ns + own_ns
        ]
        done_ns = now_ns + own_ns + len(near_ns) * run_ns
        return bool(near_ns) and done_ns > max(near_ns) + lane.deadline_ns - lane.guard_ns

    def _start(self, decision: Decision, frames: list[tuple[Lane, Entry]], now_ns: int) -> Job:
        estimate_ns = self.admission.estimate_ns(frames[0][1].frame.size, decision.count, decision.rung) or 0
        patience_ns = max(HANG_NS, HANG_TIMES * estimate_ns)
        if decision.action == "warm_up":
            patience_ns = WARM_UP_HANG_NS if decision.count == 1 else BATCH_WARM_UP_HANG_NS
            self._pass_waiting(now_ns, Terminal.PASS_WARMUP)
        for lane, entry in frames if decision.action == "run" else ():
            entry.started_ns = now_ns
            lane.mailbox = None
            # one that was away does not get all the turns it missed
            lane.turn = max(lane.turn, self._turn - len(self.lanes)) + 1
        self._turn = max(self._turn, *(lane.turn for lane, _ in frames))
        self.job = Job(decision, tuple(frames), now_ns, now_ns + patience_ns)
        return self.job

    def _settle(self, job: Job, outcome: Outcome, now_ns: int) -> None:
        service_ns, faults = now_ns - job.started_ns, [fault for fault in outcome.faults if fault]
        has_worked = len(faults) < len(job.frames)
        if has_worked:
            self.batches[len(job.frames)] += 1
            left_ns = job.entry.left_ns(job.started_ns)
            self.admission.ran(job.decision, job.entry.frame.size, service_ns, left_ns)
        if faults:
            self.admission.failed(faults[0], now_ns)
        self.admission.tried(job.decision, service_ns if has_worked else None, self._needed_ns(job), now_ns)
        for (lane, entry), restored, fault in zip(job.frames, outcome.restored, outcome.faults, strict=True):
            if entry.state is None and fault:
                self._end(lane, entry, Terminal.PASS_FAULT, now_ns, fault)
            elif entry.state is None:
                entry.restored, entry.model = restored, self._model_of(job)
                self._end(lane, entry, Terminal.DEBLURRED, now_ns)

    def _fail(self, job: Job, reason: str, now_ns: int) -> None:
        if job.decision.count > 1:
            self.admission.batch_failed(job.decision, job.entry.frame.size, reason)
        if not job.is_batch_warm_up:
            self.admission.failed(reason, now_ns)
            self.admission.tried(job.decision, None, None, now_ns)
        for lane, entry in job.frames:
            if entry.state is None:
                self._end(lane, entry, Terminal.PASS_FAULT, now_ns, reason)

    def _displace(self, lane: Lane, now_ns: int) -> None:
        if lane.mailbox is None:
            return
        state = Terminal.DROPPED_POLICY if self._late == "drop" else Terminal.PASS_SUPERSEDED
        self._end(lane, lane.mailbox, state, now_ns, "a newer frame came")

    def _pass_waiting(self, now_ns: int, state: Terminal = Terminal.PASS_FAULT) -> None:
        for lane in self.lanes:
            if lane.mailbox is not None:
                self._end(lane, lane.mailbox, state, now_ns, self.down)

    def _end(self, lane: Lane, entry: Entry, state: Terminal, now_ns: int, reason: str = "") -> None:
        lane.end(entry, state, now_ns, reason)
        self.admission.observe(state, now_ns)

    def _needed_ns(self, job: Job) -> int | None:
        """How long a run like this may take when every frame is to be restored; None without a deadline."""
        lane, share = job.lane, len(self.lanes) / len(job.frames)
        return None if lane.deadline_ns is None else min(lane.deadline_ns, round(lane.period_ns / share))

    def _tell_deadline(self, lane: Lane, size: tuple[int, int]) -> None:
        estimate_ns = self.admission.estimate_ns(size)
        needed_ns = (estimate_ns or 0) + lane.guard_ns
        if estimate_ns is None or lane.deadline_ns is None or needed_ns <= lane.deadline_ns:
            return
        logger.warning(
            "%s: the network needs %.1f ms for %dx%d, the deadline is %.1f ms: raise it or take a smaller network",
            *(lane.ledger.stream, needed_ns / 1e6, *size, lane.deadline_ns / 1e6),
        )

    def _model_of(self, job: Job) -> str:
        return self.admission.models[job.decision.rung]


def _blank_entry(size: tuple[int, int], now_ns: int) -> Entry:
    """A frame that never was, to prepare the networks with; it has ended already."""
    return Entry(Frame(np.zeros((*size, 3), np.uint8), 0, now_ns), None, state=Terminal.PASS_WARMUP)
