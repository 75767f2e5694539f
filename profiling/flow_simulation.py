"""The live flow under a clock of its own: hours of frames in seconds, the same every time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..runtime.admission import Admission
from ..runtime.frame import Frame
from ..runtime.ledger import Ledger
from ..runtime.live_flow import Flow, LatePolicy
from ..runtime.live_lane import Lane
from ..runtime.network_job import Job, Outcome
from ..runtime.terminal import Result

MS = 1_000_000
#: simulated frames are one pixel; nothing looks at them
PIXEL = np.zeros((1, 1, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Service:
    """What an engine does with one job.

    Attributes:
        duration_ns: How long it takes; None where it never ends.
        fault: Why it fails; empty where it does not.
        bad: Numbers of the frames of the job whose pictures cannot be right.
    """

    duration_ns: int | None
    fault: str = ""
    bad: frozenset[int] = frozenset()


#: says what the engine does with a job
Serve = Callable[[Job], Service]


def one_by_one(services: Iterable[Service]) -> Serve:
    """An engine that does one thing after the other, whatever it is given."""
    waiting = iter(services)
    return lambda _job: next(waiting)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens to a flow from outside.

    Attributes:
        arrivals: Per camera the frames, with ``t_capture_ns`` as the time of arrival, increasing.
        serve: Says what the engine does with a job.
        deadline_ns: Of every camera; None for none.
        late: What happens to frames that cannot be restored in time.
        models: Names of the networks, largest first.
        stop_ns: When the run is stopped; None lets it end by itself.
        sharp: Sequence numbers the blur gate keeps from the network.
        restart_ns: How long a replacement for a hanging worker takes.
        batch_max: Frames the engine takes at once; None for any number.
        delays_ns: How much later than captured frames come, by camera and number; those left out at once.
        deadlines_ns: Of single cameras, where they differ from ``deadline_ns``.
        is_paced: Whether every frame goes out at the same age.
    """

    arrivals: Sequence[Sequence[Frame]]
    serve: Serve
    deadline_ns: int | None
    late: LatePolicy = "admit"
    models: tuple[str, ...] = ("engine",)
    stop_ns: int | None = None
    sharp: frozenset[int] = frozenset()
    restart_ns: int = 100 * MS
    batch_max: int | None = 1
    delays_ns: Mapping[tuple[int, int], int] = field(default_factory=dict)
    deadlines_ns: Mapping[int, int] = field(default_factory=dict)
    is_paced: bool = False


@dataclass(slots=True)
class Simulation:
    """Runs a scenario; afterwards ``ledgers`` and ``results`` say what became of the frames.

    Attributes:
        scenario: What happens.
        ledgers: One per camera.
        results: What went out, per camera, in order.
        imbalances: Found after any step; there must be none.
    """

    scenario: Scenario
    ledgers: list[Ledger] = field(default_factory=list)
    results: list[list[Result]] = field(default_factory=list)
    imbalances: list[str] = field(default_factory=list)
    _events: list[tuple[int, int, Callable[[int], None]]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)

    def run(self) -> Flow:
        """Run to the end, when every frame has ended."""
        scenario = self.scenario
        lanes = []
        for index in range(len(scenario.arrivals)):
            self.ledgers.append(Ledger(f"camera {index}"))
            self.results.append([])
            deadline_ns = scenario.deadlines_ns.get(index, scenario.deadline_ns)
            lanes.append(Lane(self.ledgers[-1], self.results[-1].append, deadline_ns))
            lanes[-1].is_paced = scenario.is_paced
        batch_max = [scenario.batch_max] * len(scenario.models)
        admission = Admission(scenario.models, has_control=scenario.late == "admit", batch_max=batch_max)
        flow = Flow(lanes, admission, scenario.late)
        for index, frames in enumerate(scenario.arrivals):
            for frame in frames:
                came_ns = frame.t_capture_ns + scenario.delays_ns.get((index, frame.seq), 0)
                self._at(came_ns, self._arrival(flow, lanes[index], frame))
        if scenario.stop_ns is not None:
            self._at(scenario.stop_ns, flow.stop)
        self._loop(flow)
        return flow

    def _loop(self, flow: Flow) -> None:
        now_ns = 0
        while self._events or not flow.is_empty:
            times_ns = [time_ns for time_ns in (flow.wake_ns(), flow.collects_until_ns) if time_ns is not None]
            wake_ns = min(times_ns, default=None)
            if self._events and (wake_ns is None or self._events[0][0] <= wake_ns):
                now_ns, _, happen = heapq.heappop(self._events)
                happen(now_ns)
            else:
                assert wake_ns is not None, "frames wait for nothing"
                now_ns = max(now_ns, wake_ns)
                was_down = flow.down
                flow.tick(now_ns)
                if flow.down and not was_down:
                    self._at(now_ns + self.scenario.restart_ns, lambda _now_ns: flow.restarted())
            self._begin(flow, now_ns)
            self.imbalances += flow.imbalances()

    def _arrival(self, flow: Flow, lane: Lane, frame: Frame) -> Callable[[int], None]:
        sharp_reason = "sharp" if frame.seq in self.scenario.sharp else ""
        return lambda now_ns: flow.arrive(lane, frame, now_ns, sharp_reason)

    def _begin(self, flow: Flow, now_ns: int) -> None:
        job = flow.next_job(now_ns)
        if job is None:
            return
        service = self.scenario.serve(job)
        if service.duration_ns is not None:
            self._at(now_ns + service.duration_ns, self._completion(flow, job, service))

    def _completion(self, flow: Flow, job: Job, service: Service) -> Callable[[int], None]:
        runs_ns = (service.duration_ns or 0,) if job.decision.action == "warm_up" else ()
        restored = () if service.fault else tuple(entry.frame.pixels for _, entry in job.frames)
        faults = tuple("bad" if number in service.bad else "" for number in range(len(restored)))
        outcome = Outcome(restored, faults, service.fault, runs_ns=runs_ns)
        return lambda now_ns: flow.finish(job, outcome, now_ns)

    def _at(self, time_ns: int, happen: Callable[[int], None]) -> None:
        heapq.heappush(self._events, (time_ns, next(self._order), happen))


def frames_at(times_ns: Sequence[int], stream: str = "camera") -> list[Frame]:
    """Frames of one pixel, captured at the given times."""
    first = Frame(PIXEL, 0, 0, stream)
    return [replace(first, seq=seq, t_capture_ns=time_ns) for seq, time_ns in enumerate(times_ns)]
