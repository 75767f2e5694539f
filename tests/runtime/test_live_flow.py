"""The flow under a virtual clock: patience with slow networks, and memory at a constant pace."""

from __future__ import annotations

from deblurrt.profiling.flow_simulation import MS, Scenario, Service, Simulation, frames_at
from deblurrt.runtime.ladder import RETRY_NS
from deblurrt.runtime.live_lane import HELD_MAX
from deblurrt.runtime.network_job import Job
from deblurrt.runtime.terminal import Terminal

PERIOD_NS = 33 * MS


def test_try_of_a_larger_network_that_is_slow_is_not_taken_for_a_hang() -> None:
    """Three seconds are usual for this one, however fast the one in use is."""
    durations_ns, runs = {0: 3000 * MS, 1: 10 * MS}, []

    def serve(job: Job) -> Service:
        runs.append((job.decision.action, job.decision.rung))
        return Service(durations_ns[job.decision.rung])

    frames = frames_at([index * PERIOD_NS for index in range(4 * RETRY_NS // PERIOD_NS)])
    simulation = Simulation(Scenario([frames], serve, 50 * MS, models=("large", "small")))
    simulation.run()
    assert simulation.imbalances == []
    assert ("run", 0) in runs[runs.index(("run", 1)) :]
    assert runs.count(("warm_up", 0)) == 1
    assert simulation.ledgers[0].states[Terminal.PASS_FAULT] == 0


def test_long_deadlines_at_a_constant_pace_hold_a_bounded_number_of_frames_and_drop_none() -> None:
    held: list[int] = []

    def serve(_job: Job) -> Service:
        ledger = simulation.ledgers[0]
        held.append(ledger.captured - sum(ledger.states.values()))
        return Service(MS)

    frames = frames_at([index * PERIOD_NS for index in range(5 * HELD_MAX)])
    sharp = frozenset(range(0, len(frames), 3))
    deadline_ns = 10 * HELD_MAX * PERIOD_NS
    simulation = Simulation(Scenario([frames], serve, deadline_ns, sharp=sharp, is_paced=True))
    simulation.run()
    assert simulation.imbalances == []
    assert HELD_MAX // 2 < max(held) <= HELD_MAX + 1
    assert [result.frame.seq for result in simulation.results[0]] == list(range(len(frames)))
