"""Frames at a constant pace: all at the same age, in order, none late."""

from __future__ import annotations

import itertools
import random

import pytest

from deblurrt.core.errors import UsageError
from deblurrt.profiling.flow_simulation import MS, Scenario, Service, Simulation, frames_at, one_by_one
from deblurrt.runtime.live_lane import GUARD_NS
from deblurrt.runtime.live_runner import LiveConfig, LiveRunner
from deblurrt.runtime.terminal import Terminal
from tests.fakes import unchanged
from tests.live_fakes import KeptResults, ScriptedSource, camera_script, scripted_session

PERIOD_NS, DEADLINE_NS = 33 * MS, 50 * MS
COUNT = 200


def run(*, is_paced: bool, stop_ns: int | None = None) -> Simulation:
    rng = random.Random(0)
    services = (
        Service(rng.choice([10, 10, 25, 150]) * MS, rng.choice(["", "", "", "broken"])) for _ in itertools.count()
    )
    frames = frames_at([index * PERIOD_NS for index in range(COUNT)])
    scenario = Scenario([frames], one_by_one(services), DEADLINE_NS, is_paced=is_paced, stop_ns=stop_ns)
    simulation = Simulation(scenario)
    simulation.run()
    assert simulation.imbalances == []
    assert simulation.ledgers[0].missed == 0
    return simulation


def test_every_frame_goes_out_at_the_same_age() -> None:
    results = run(is_paced=True).results[0]
    assert len(results) == COUNT
    assert {result.state for result in results} >= {Terminal.DEBLURRED, Terminal.PASS_FAULT, Terminal.PASS_DEADLINE}
    for result in results:
        assert result.total_ms == pytest.approx((DEADLINE_NS - GUARD_NS) / MS)


def test_pace_changes_when_frames_go_out_and_nothing_else() -> None:
    newest, constant = (run(is_paced=is_paced).results[0] for is_paced in (False, True))
    assert [result.state for result in newest] == [result.state for result in constant]
    assert min(result.total_ms for result in newest) <= 10


def test_frames_that_wait_for_their_time_go_out_when_the_run_is_stopped() -> None:
    stop_ns = 100 * PERIOD_NS + 20 * MS
    simulation = run(is_paced=True, stop_ns=stop_ns)
    last = max(result.frame.seq for result in simulation.results[0])
    assert last in (99, 100)
    states = simulation.ledgers[0].states
    assert states[Terminal.DROPPED_SHUTDOWN] == COUNT - len(simulation.results[0])


def test_run_with_threads_keeps_the_pace() -> None:
    """However late threads wake: no restored frame is younger than its deadline allows."""
    sink = KeptResults()
    config = LiveConfig(deadline_ms=200, pace="constant")
    source = ScriptedSource(camera_script(20, period_s=0.03))
    runner = LiveRunner([source], [scripted_session(unchanged)], [[sink]], config)
    runner.run()
    assert runner.imbalances == []
    restored = [result for result in sink.results if result.state is Terminal.DEBLURRED]
    assert restored
    for result in restored:
        assert result.total_ms > 190


def test_pace_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="pace is 'slow', expected one of newest, constant"):
        LiveConfig(pace="slow")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no constant pace"):
        LiveConfig(pace="constant", late="drop")
