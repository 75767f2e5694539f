"""Ten thousand random runs of the live flow under a virtual clock: no frame is lost, doubled or late."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import pytest

from deblurrt.profiling.flow_simulation import MS, Scenario, Service, Simulation, frames_at, one_by_one
from deblurrt.runtime.live_flow import LatePolicy
from deblurrt.runtime.terminal import Terminal

TRACES = 10_000
#: traces are split so that a failure names a short list of seeds
GROUPS = 10
LATE: tuple[LatePolicy, ...] = ("drop", "pass", "admit")


def random_services(rng: random.Random) -> Iterator[Service]:
    usual_ns = rng.choice([1, 10, 20, 40, 45, 90, 300]) * MS
    spikes, faults, hangs = (rng.choice([0, 0, 0.05, 0.3, 1]) for _ in range(3))
    while True:
        if rng.random() < hangs / 5:
            yield Service(None if rng.random() < 0.5 else 5_000 * MS)
        duration_ns = usual_ns * (8 if rng.random() < spikes else 1) + rng.randrange(MS)
        yield Service(duration_ns, "broken" if rng.random() < faults else "")


def random_scenario(rng: random.Random) -> Scenario:
    arrivals = []
    for camera in range(rng.choice([1, 1, 2, 3])):
        time_ns, times_ns = 0, []
        period_ns = rng.choice([5, 16, 33, 100]) * MS
        for _ in range(rng.randrange(25)):
            time_ns += rng.choice([1, period_ns, period_ns, rng.randrange(1, 3 * period_ns)])
            times_ns.append(time_ns)
        arrivals.append(frames_at(times_ns, f"camera {camera}"))
    last_ns = max((frames[-1].t_capture_ns for frames in arrivals if frames), default=0)
    late = rng.choice(LATE)
    deadline_ns = rng.choice([None, 0, 1, 10, 33, 50, 200]) if late == "drop" else rng.choice([0, 1, 10, 33, 50, 200])
    return Scenario(
        arrivals,
        one_by_one(random_services(rng)),
        None if deadline_ns is None else deadline_ns * MS,
        late,
        models=("large", "small")[: rng.choice([1, 2])],
        stop_ns=rng.choice([None, rng.randrange(last_ns + 2)]),
        sharp=frozenset(rng.sample(range(25), rng.choice([0, 0, 5]))),
        restart_ns=rng.randrange(500) * MS,
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
@pytest.mark.parametrize("group", range(GROUPS))
def test_every_frame_of_random_traces_ends_once_in_order_and_in_time(group: int) -> None:
    for seed in range(group * TRACES // GROUPS, (group + 1) * TRACES // GROUPS):
        simulation = Simulation(random_scenario(random.Random(seed)))
        try:
            simulation.run()
            check(simulation)
        except AssertionError as error:
            raise AssertionError(f"trace {seed}: {error}") from error
