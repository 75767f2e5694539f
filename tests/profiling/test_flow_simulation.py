"""Situations of hours under the virtual clock: ladder, probes, lock-out, hangs, several cameras."""

from __future__ import annotations

import itertools

import pytest

from deblurrt.profiling.flow_simulation import MS, Scenario, Service, Simulation, frames_at, one_by_one
from deblurrt.runtime.network_job import Job
from deblurrt.runtime.terminal import Terminal

PERIOD_NS = 33 * MS


def steady(count: int) -> list[int]:
    return [index * PERIOD_NS for index in range(count)]


def run(scenario: Scenario) -> Simulation:
    simulation = Simulation(scenario)
    simulation.run()
    assert simulation.imbalances == []
    return simulation


def test_slow_stretch_does_not_end_deblurring_for_ever() -> None:
    def serve(job: Job) -> Service:
        is_slow = 100 * PERIOD_NS < job.started_ns < 500 * PERIOD_NS
        return Service(80 * MS if is_slow else 20 * MS)

    simulation = run(Scenario([frames_at(steady(2000))], serve, 50 * MS))
    states = [result.state for result in simulation.results[0]]
    assert states[200:500].count(Terminal.DEBLURRED) == 0
    assert states[-1000:].count(Terminal.DEBLURRED) == 1000


def test_engine_that_never_fits_is_hardly_tried() -> None:
    jobs: list[int] = []

    def serve(_job: Job) -> Service:
        jobs.append(1)
        return Service(80 * MS)

    run(Scenario([frames_at(steady(3000))], serve, 50 * MS))
    assert len(jobs) < 30


def test_smaller_network_takes_over_and_the_larger_one_comes_back() -> None:
    slow_until_ns = 1000 * PERIOD_NS

    def serve(job: Job) -> Service:
        is_slow = job.decision.rung == 0 and job.started_ns < slow_until_ns
        return Service(60 * MS if is_slow else 15 * MS)

    simulation = run(Scenario([frames_at(steady(4000))], serve, 33 * MS, models=("large", "small")))
    models = [result.model for result in simulation.results[0]]
    assert models[400:900].count("small") > 450
    assert models[3000:].count("large") == 1000


def test_failing_network_is_left_alone_and_taken_up_again_when_it_works() -> None:
    services = itertools.chain(
        itertools.repeat(Service(5 * MS), 10),
        itertools.repeat(Service(5 * MS, "broken"), 8),
        itertools.repeat(Service(5 * MS)),
    )
    simulation = run(Scenario([frames_at(steady(1500))], one_by_one(services), 33 * MS))
    states = simulation.ledgers[0].states
    assert states[Terminal.PASS_FAULT] > 50
    assert simulation.results[0][-1].state is Terminal.DEBLURRED


def test_hang_costs_deadlines_and_then_frames_are_restored_again() -> None:
    services = itertools.chain(
        itertools.repeat(Service(5 * MS), 10), [Service(None)], itertools.repeat(Service(5 * MS))
    )
    simulation = run(Scenario([frames_at(steady(300))], one_by_one(services), 33 * MS, restart_ns=500 * MS))
    ledger = simulation.ledgers[0]
    assert ledger.missed == 0
    assert ledger.states[Terminal.PASS_FAULT] > 0
    assert simulation.results[0][-1].state is Terminal.DEBLURRED


@pytest.mark.parametrize("offset_ms", [0, 1, 11, 16])
@pytest.mark.parametrize("service_ms", [8, 14, 20, 30])
def test_cameras_share_a_network_fairly(offset_ms: int, service_ms: int) -> None:
    services = itertools.repeat(Service(service_ms * MS))
    arrivals = [frames_at([time_ns + index * offset_ms * MS for time_ns in steady(600)]) for index in range(3)]
    simulation = run(Scenario(arrivals, one_by_one(services), 33 * MS))
    restored = [ledger.states[Terminal.DEBLURRED] for ledger in simulation.ledgers]
    assert sum(restored) >= 440
    assert min(restored) >= 0.5 * max(restored), restored


def test_camera_that_is_gone_keeps_nobody_waiting() -> None:
    services = itertools.repeat(Service(30 * MS))
    arrivals = [frames_at(steady(10)), frames_at(steady(300))]
    simulation = run(Scenario(arrivals, one_by_one(services), 33 * MS))
    assert simulation.ledgers[1].states[Terminal.DEBLURRED] > 285


def test_frames_of_a_stopped_run_are_counted_as_dropped() -> None:
    simulation = run(
        Scenario(
            [frames_at(steady(100))], one_by_one(itertools.repeat(Service(20 * MS))), 50 * MS, stop_ns=50 * PERIOD_NS
        )
    )
    states = simulation.ledgers[0].states
    assert states[Terminal.DROPPED_SHUTDOWN] >= 49
    assert sum(states.values()) == 100
