"""Ten thousand random runs of the live flow under a virtual clock: no frame is lost, doubled or late."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from deblurrt.profiling.flow_simulation import MS, Scenario, Serve, Service, Simulation, frames_at
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.live_flow import LatePolicy
from deblurrt.runtime.network_job import Job
from deblurrt.runtime.terminal import Terminal

TRACES = 10_000
#: traces are split so that a failure names a short list of seeds; the first two groups are in every test run
GROUPS = 10
LATE: tuple[LatePolicy, ...] = ("drop", "pass", "admit")


def random_services(rng: random.Random) -> Iterator[Service]:
    usual_ns = rng.choice([1, 5, 10, 10, 20, 40, 45, 90, 300]) * MS
    spikes, faults, hangs = (rng.choice([0, 0, 0.05, 0.3, 1]) for _ in range(3))
    while True:
        if rng.random() < hangs / 5:
            yield Service(None if rng.random() < 0.5 else 5_000 * MS)
        duration_ns = usual_ns * (8 if rng.random() < spikes else 1) + rng.randrange(MS)
        yield Service(duration_ns, "broken" if rng.random() < faults else "")


def random_engine(rng: random.Random) -> Serve:
    """An engine for which further frames of a batch cost a share of the first, and which spoils some pictures."""
    services = random_services(rng)
    further, bad = rng.choice([0, 0.1, 0.1, 0.5, 1]), rng.choice([0, 0, 0.05, 0.3, 1])

    def serve(job: Job) -> Service:
        service, count = next(services), job.decision.count
        spoilt = frozenset(number for number in range(len(job.frames)) if rng.random() < bad)
        if service.duration_ns is None:
            return service
        return replace(service, duration_ns=round(service.duration_ns * (1 + further * (count - 1))), bad=spoilt)

    return serve


def random_arrivals(rng: random.Random) -> list[list[Frame]]:
    """Frames of cameras that are independent of each other, or that mostly take pictures at the same moments."""
    arrivals: list[list[Frame]] = []
    jitter_ns, is_together = rng.choice([1, MS, 3 * MS, 8 * MS]), rng.random() < 0.3
    moments_ns = list(itertools.accumulate(rng.choice([16, 33, 33]) * MS for _ in range(24)))
    for camera in range(rng.choice([2, 3, 3, 6] if is_together else [1, 1, 2, 3])):
        time_ns, times_ns = 0, []
        period_ns = rng.choice([5, 16, 33, 100]) * MS
        for _ in range(rng.randrange(25)):
            time_ns += rng.choice([1, period_ns, period_ns, rng.randrange(1, 3 * period_ns)])
            times_ns.append(time_ns)
        if is_together:
            times_ns = [time_ns + rng.randrange(jitter_ns) for time_ns in moments_ns if rng.random() < 0.98]
        arrivals.append(frames_at(times_ns, f"camera {camera}"))
    return arrivals


def random_scenario(rng: random.Random) -> Scenario:
    arrivals = random_arrivals(rng)
    last_ns = max((frames[-1].t_capture_ns for frames in arrivals if frames), default=0)
    late = rng.choice(LATE)
    deadline_ms = rng.choice([None, 0, 1, 10, 33, 50, 200]) if late == "drop" else rng.choice([0, 1, 10, 33, 50, 200])
    delays_ns = {}
    if deadline_ms is not None and deadline_ms >= 10 and rng.random() < 0.3:
        # in time all the same, and in order
        delays_ns = {
            (camera, seq): delay for camera in range(6) for delay in [rng.randrange(8 * MS)] for seq in range(25)
        }
    return Scenario(
        arrivals,
        random_engine(rng),
        None if deadline_ms is None else deadline_ms * MS,
        late,
        models=("large", "small")[: rng.choice([1, 2])],
        stop_ns=rng.choice([None, None, rng.randrange(last_ns + 2)]),
        sharp=frozenset(rng.sample(range(25), rng.choice([0, 0, 5]))),
        restart_ns=rng.randrange(500) * MS,
        batch_max=rng.choice([1, 2, None, None]),
        delays_ns=delays_ns,
        is_paced=late != "drop" and rng.random() < 0.3,
    )


def check(simulation: Simulation) -> None:
    scenario = simulation.scenario
    assert simulation.imbalances == []
    for frames, ledger, results in zip(scenario.arrivals, simulation.ledgers, simulation.results, strict=True):
        assert ledger.captured == len(frames) == sum(ledger.states.values())
        dropped = sum(count for state, count in ledger.states.items() if state.is_dropped)
        assert len(results) == len(frames) - dropped
        numbers = [result.frame.seq for result in results]
        assert numbers == sorted(set(numbers))
        assert not any(result.state.is_dropped for result in results)
        assert all(result.frame is frames[result.frame.seq] for result in results)
        assert ledger.states[Terminal.DROPPED_SHUTDOWN] == 0 or scenario.stop_ns is not None
        if scenario.late != "drop":
            assert ledger.missed == 0
            assert ledger.states[Terminal.DROPPED_POLICY] == 0


@pytest.fixture
def no_log() -> Iterator[None]:
    """Ten thousand runs have a hundred thousand things to say."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.fault("R1", "10,000 random traces under a virtual clock", "every frame ends once, in order, in time")
@pytest.mark.usefixtures("no_log")
@pytest.mark.parametrize(
    "group", [*range(2), *(pytest.param(group, marks=pytest.mark.full) for group in range(2, GROUPS))]
)
def test_every_frame_of_random_traces_ends_once_in_order_and_in_time(group: int) -> None:
    together = 0
    for seed in range(group * TRACES // GROUPS, (group + 1) * TRACES // GROUPS):
        simulation = Simulation(random_scenario(random.Random(seed)))
        try:
            batches = simulation.run().batches
            check(simulation)
            together += sum(batches[count] for count in batches if count > 1)
        except AssertionError as error:
            raise AssertionError(f"trace {seed}: {error}") from error
    assert together > 100
