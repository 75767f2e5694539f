"""Live cameras through a network into sinks: the threads around the flow.

One thread per camera reads, one runs the networks, one lets untouched frames out at their deadline,
one per sink writes. None waits for another; only sources that can wait do so until the networks are ready.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

from ..core.errors import UsageError
from .admission import Admission
from .any_network import Network, OpenNetworks
from .blur_gate import BlurGate
from .frame import Frame
from .ledger import Ledger, WriteLine
from .live_camera import Camera
from .live_flow import Flow, LatePolicy
from .live_lane import Lane
from .live_source import LiveSource, SourceEvent, Waiting
from .live_worker import LiveWorker, check_ladder
from .outbox import Outbox, ResultSink, SinkCounts, SinkThread
from .pipeline import clean_up
from .scheduling import prompt_switching, raise_priority
from .terminal import Result
from .wake_lateness import WakeLateness

logger = logging.getLogger(__name__)

#: how long a source is asked to wait for its next frame
READ_S = 0.2
#: how often status, stop request and accounts are looked at
LOOK_S = 0.1
#: how often a source that waits for the networks looks whether they are ready
WAITING_LOOK_S = 0.02
#: how long a thread may take to notice the end
JOIN_S = 5.0
#: frames that may still come out after the last source ended
DRAIN_S = 5.0
#: errors in the account that are kept; the first one says what is wrong, its figures change with every frame
IMBALANCES_MAX = 10

#: when a restored frame goes out: at once, or at the age of one that had to wait for its deadline
Pace = Literal["newest", "constant"]


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """How live frames are treated.

    Attributes:
        deadline_ms: From capture to going out; None stands for one frame period.
        late: What happens to frames that cannot be restored in time.
        has_gate: Whether sharp frames are left alone.
        has_batches: Whether frames of synchronised cameras go through the network together, where that is
            faster than one after the other.
        pace: ``newest``: a frame goes out as soon as it is restored; ``constant``: every frame at the same age,
            its deadline, so that they are as regular as they were captured.
    """

    deadline_ms: float | None = None
    late: LatePolicy = "admit"
    has_gate: bool = False
    has_batches: bool = True
    pace: Pace = "newest"

    def __post_init__(self) -> None:
        if self.deadline_ms is not None and not 0 < self.deadline_ms < float("inf"):
            raise UsageError(f"the deadline is {self.deadline_ms} ms, expected more than 0")
        for what, chosen, choices in (("late", self.late, LatePolicy), ("pace", self.pace, Pace)):
            if chosen not in get_args(choices):
                raise UsageError(f"{what} is {chosen!r:.40}, expected one of {', '.join(get_args(choices))}")
        if self.pace == "constant" and self.late == "drop":
            raise UsageError("frames that may be late have no constant pace; use late='admit' or late='pass'")


class LiveRunner:
    """Runs cameras until they end or are stopped, with an account of every frame.

    Args:
        sources: The cameras; closed at the end.
        sessions: Networks, largest first; closed at the end.
        sinks: Per camera, where its results go; one that several share gets the frames of all.
        config: Deadline and policy.
        reopen: Opens the networks anew when they hang; None where that is not possible.
        write_line: Takes the lines of the ledger.

    Attributes:
        cameras: In the order of ``sources``.
        flow: Decides what happens to their frames.
        worker: Runs the networks; None before ``run``.
        imbalances: What was found wrong with the accounts; there must be nothing.
        is_real_time: Whether the thread that lets frames out has real-time priority; None before ``run``.
    """

    def __init__(
        self,
        sources: Sequence[LiveSource],
        sessions: Sequence[Network],
        sinks: Sequence[Sequence[ResultSink | Outbox]],
        config: LiveConfig | None = None,
        reopen: OpenNetworks | None = None,
        write_line: WriteLine | None = None,
    ) -> None:
        check_ladder(sessions)
        self.config = config or LiveConfig()
        self._sessions, self._reopen = sessions, reopen
        self._lock = threading.RLock()
        self._due = threading.Condition(self._lock)
        self._over = threading.Event()
        self._sinks = list(dict.fromkeys(sink for per_camera in sinks for sink in per_camera))
        self._threads: dict[int, SinkThread] = {}
        self._ledgers: dict[str, Ledger] = {}
        self.cameras: list[Camera] = []
        for source, per_camera in zip(sources, sinks, strict=True):
            self.cameras.append(self._camera(source, per_camera, write_line))
        models = [session.model for session in sessions]
        lanes = [camera.lane for camera in self.cameras]
        batch_max = [session.batch_max if self.config.has_batches else 1 for session in sessions]
        admission = Admission(models, has_control=self.config.late == "admit", batch_max=batch_max)
        self.flow = Flow(lanes, admission, self.config.late)
        self.worker: LiveWorker | None = None
        self.imbalances: list[str] = []
        self.is_real_time: bool | None = None
        self._defect: BaseException | None = None

    @property
    def ledgers(self) -> list[Ledger]:
        """The accounts, in the order of the sources."""
        return [camera.lane.ledger for camera in self.cameras]

    @property
    def sinks(self) -> dict[str, SinkCounts]:
        """The accounts of the sinks, by name."""
        return {outbox.sink: outbox.counts for outbox in self._outboxes()}

    def run(self, on_look: Callable[[], None] | None = None, stop: threading.Event | None = None) -> None:
        """Run until every source has ended or ``stop`` is set; sinks are closed and whole then.

        Args:
            on_look: Called about ten times a second from this thread.
            stop: Ends the run.
        """
        stop = stop or threading.Event()
        with ExitStack() as stack:
            stack.enter_context(prompt_switching())
            for camera in self.cameras:
                stack.callback(clean_up, camera.source.close)
            stack.callback(self._over.set)
            for sink in self._sinks:
                if not isinstance(sink, Outbox):
                    self._threads[id(sink)] = SinkThread(sink, self._emitted)
            for camera in self.cameras:
                if isinstance(camera.source, Waiting):
                    camera.set_deadline(self.config.deadline_ms)
                    self.flow.prepare(camera.lane, camera.source.first_size)
            self.worker = LiveWorker(self.flow, self._lock, self._due.notify, self._sessions, self._reopen)
            threads = [threading.Thread(target=self._let_out, name="deadlines", daemon=True)]
            threads += [
                threading.Thread(target=self._capture, args=(camera,), name=f"camera {index}", daemon=True)
                for index, camera in enumerate(self.cameras)
            ]
            for thread in threads:
                thread.start()
            try:
                self._look_until_over(on_look, stop)
            except Exception:  # a second signal is none: it ends at once
                clean_up(partial(self._end, threads))
                raise
            self._end(threads)

    def _look_until_over(self, on_look: Callable[[], None] | None, stop: threading.Event) -> None:
        assert self.worker is not None
        drained_s = None
        while not stop.wait(LOOK_S):
            self.worker.watch()
            if defect := self._defect or self.worker.defect:
                raise defect
            self._check()
            if on_look is not None:
                on_look()
            if all(camera.has_ended for camera in self.cameras):
                drained_s = drained_s or time.monotonic() + DRAIN_S
                if self.flow.is_empty or time.monotonic() > drained_s:
                    return
            if self.sinks and all(counts.error for counts in self.sinks.values()):
                logger.error("every output has failed; nothing is left to run for")
                return

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        """End every thread, and close sinks and networks, also where the flow has a defect."""
        assert self.worker is not None
        try:
            with self._lock:
                self._over.set()
                self._due.notify_all()
                now_ns = time.monotonic_ns()
                for ledger in self.ledgers:
                    ledger.source.finish(now_ns)
                self.flow.stop(now_ns)
        finally:
            for camera in self.cameras:
                clean_up(camera.source.close)
            for thread in threads:
                thread.join(JOIN_S)
            for outbox in self._outboxes():
                outbox.finish()
            for sink_thread in self._threads.values():
                sink_thread.join()
            self.worker.stop(JOIN_S)
            for ledger in self.ledgers:
                ledger.finish()
        self._check()

    def _check(self) -> None:
        with self._lock:
            found = self.flow.imbalances()
        found += [f"sink {name} lost frames: {counts}" for name, counts in self.sinks.items() if not counts.is_balanced]
        for problem in found:
            if problem not in self.imbalances and len(self.imbalances) < IMBALANCES_MAX:
                self.imbalances.append(problem)
                logger.error("the account does not balance: %s", problem)

    def _camera(self, source: LiveSource, sinks: Sequence[ResultSink | Outbox], write: WriteLine | None) -> Camera:
        name = source.name
        while name in self._ledgers:
            name = f"{source.name}#{len(self._ledgers) + 1}"
        ledger = Ledger(name, [sink.sink if isinstance(sink, Outbox) else sink.name for sink in sinks], write)
        self._ledgers[name] = ledger

        def deliver(result: Result) -> None:
            for sink in sinks:
                outbox = sink if isinstance(sink, Outbox) else self._threads[id(sink)].outbox
                outbox.put(result)

        lane = Lane(ledger, deliver)
        lane.is_paced = self.config.pace == "constant"
        return Camera(source, lane, gate=BlurGate() if self.config.has_gate else None)

    def _outboxes(self) -> list[Outbox]:
        threads = [thread.outbox for thread in self._threads.values()]
        return threads + [sink for sink in self._sinks if isinstance(sink, Outbox)]

    def _emitted(self, sink: str, result: Result, emit_ms: float | None) -> None:
        self._ledgers[result.frame.stream].add_emitted(sink, result.frame, emit_ms, result.deadline_ns)

    def _capture(self, camera: Camera) -> None:
        try:
            while isinstance(camera.source, Waiting) and self.flow.is_preparing and not self._over.wait(WAITING_LOOK_S):
                pass
            while not self._over.is_set() and not camera.has_ended:
                item = camera.source.read(READ_S)
                if isinstance(item, SourceEvent):
                    camera.note(item)
                elif item is not None:
                    self._take(camera, item)
        except Exception as error:  # a source promises to say what happens in events
            camera.note(SourceEvent("failed", str(error) or type(error).__name__, camera.epoch or 0))
            logger.exception("%s ended with a defect", camera.source.name)
        camera.has_ended = True

    def _take(self, camera: Camera, frame: Frame) -> None:
        lane = camera.lane
        if frame.stream != lane.ledger.stream:
            frame = replace(frame, stream=lane.ledger.stream)
        camera.saw(frame, self.config.deadline_ms)
        sharp_reason = ""
        if camera.gate is not None and camera.gate.judge(frame.pixels):
            sharp_reason = camera.gate.reason
        with self._lock:
            self.flow.arrive(lane, frame, time.monotonic_ns(), sharp_reason)
            if lane.inside:
                self._due.notify()
            if lane.mailbox is not None and self.worker is not None:
                self.worker.has_work.notify()

    def _let_out(self) -> None:
        self.is_real_time = raise_priority()
        lateness = WakeLateness()
        try:
            with self._lock:
                while not self._over.is_set():
                    now_ns = time.monotonic_ns()
                    self.flow.tick(now_ns)
                    wake_ns = self.flow.wake_ns()
                    was_told = self._due.wait(JOIN_S if wake_ns is None else max(wake_ns - now_ns, 0) / 1e9)
                    if wake_ns is not None and not was_told:
                        lateness.add(time.monotonic_ns() - wake_ns)
                        self.flow.keep_before_deadlines(lateness.guard_ns)
        except BaseException as error:  # handed to the caller of run()
            self._defect = error
