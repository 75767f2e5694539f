"""Stages add up to what they are stages of, and a miss is what it is said to be."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest

from deblurrt.profiling.flow_simulation import MS, Scenario, Service, Simulation, frames_at
from deblurrt.runtime.ledger import Ledger
from deblurrt.runtime.live_flow import LatePolicy
from deblurrt.runtime.live_runner import LiveConfig, LiveRunner
from deblurrt.runtime.terminal import Result, Terminal
from tests.fakes import unchanged
from tests.live_fakes import KeptResults, ScriptedSource, camera_script, scripted_session

TOLERANCE_MS = 0.1
STAGES = ("queue", "network", "hold")


def simulated(late: LatePolicy, seed: int) -> Simulation:
    rng = random.Random(seed)
    times_ns: Sequence[int] = [index * 33 * MS + rng.randrange(5 * MS) for index in range(200)]
    scenario = Scenario(
        [frames_at(times_ns)], lambda _job: Service(rng.randrange(5 * MS, 80 * MS)), deadline_ns=50 * MS, late=late
    )
    simulation = Simulation(scenario)
    simulation.run()
    return simulation


@pytest.mark.parametrize("late", ["drop", "pass", "admit"])
def test_no_stage_is_negative_and_all_sum_to_the_whole(late: LatePolicy) -> None:
    simulation = simulated(late, seed=1)
    (results,) = simulation.results
    assert len(results) > 100
    for result in results:
        assert tuple(stage for stage, _ in result.stages_ms) == STAGES
        assert all(duration_ms >= 0 for _, duration_ms in result.stages_ms)
        assert abs(sum(duration_ms for _, duration_ms in result.stages_ms) - result.total_ms) < TOLERANCE_MS


def test_stages_sum_to_the_time_of_going_out_by_another_clock() -> None:
    """A sink's own reading of the clock is the witness: later than the stages say by the hand-over alone."""
    kept: list[tuple[Result, float, float]] = []
    handed_ms: dict[tuple[int, int], float] = {}

    def note(result: Result) -> None:
        now_ms = (time.monotonic_ns() - result.frame.t_capture_ns) / 1e6
        kept.append((result, now_ms, handed_ms[result.frame.epoch, result.frame.seq]))

    source = ScriptedSource(camera_script(40, period_s=0.004))
    runner = LiveRunner([source], [scripted_session(unchanged)], [[KeptResults(on_write=note)]], LiveConfig(60_000))
    add_ended = runner.ledgers[0].add_ended

    def add_and_read_the_clock(result: Result) -> None:
        frame = result.frame
        handed_ms[frame.epoch, frame.seq] = (time.monotonic_ns() - frame.t_capture_ns) / 1e6
        add_ended(result)

    runner.ledgers[0].add_ended = add_and_read_the_clock  # type: ignore[method-assign]
    runner.run()
    assert len(kept) == 40
    apart_ms = sorted(out_ms - result.total_ms for result, _, out_ms in kept)
    assert apart_ms[0] >= 0
    # the thread may be held up between two readings of the clock, so that not every frame can be held to it
    assert apart_ms[len(apart_ms) // 2] < TOLERANCE_MS
    assert all(sink_ms >= out_ms for _, sink_ms, out_ms in kept)


@pytest.mark.parametrize("late", ["drop", "pass", "admit"])
def test_miss_rate_is_frames_out_after_their_deadline_of_all_captured(late: LatePolicy) -> None:
    simulation = simulated(late, seed=2)
    (ledger,), (results,) = simulation.ledgers, simulation.results
    missed = sum(result.total_ms > 50 for result in results)
    assert ledger.captured == 200
    assert ledger.missed == missed
    assert (missed > 0) == (late == "drop")


def test_dropped_frames_are_no_misses_and_untouched_ones_in_time_neither() -> None:
    ledger = Ledger("cam")
    (frame,) = frames_at([0])
    late_ms, in_time_ms = (("queue", 60.0),), (("queue", 40.0),)
    for state, stages_ms in ((Terminal.DROPPED_POLICY, late_ms), (Terminal.PASS_DEADLINE, in_time_ms)):
        ledger.add_ended(Result(frame, frame.pixels, state, deadline_ns=50 * MS, stages_ms=stages_ms))
    assert ledger.missed == 0


def test_sink_has_a_lateness_of_its_own() -> None:
    ledger = Ledger("cam", ["slow", "fast"])
    (frame,) = frames_at([0])
    for sink, emit_ms in (("slow", 51.0), ("fast", 49.0), ("fast", None)):
        ledger.add_emitted(sink, frame, emit_ms, 50 * MS)
    assert ledger.emitted_late == {"slow": 1, "fast": 0}
    assert [ledger.emitted.report(sink).count for sink in ("slow", "fast")] == [1, 1]
    assert ledger.missed == 0
