"""Frames of several cameras in one run of the network, under a virtual clock."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deblurrt.profiling.flow_simulation import MS, Scenario, Serve, Service, Simulation, frames_at
from deblurrt.runtime import live_flow
from deblurrt.runtime.batching import COLLECT_NS, Synchrony
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.ledger import Ledger
from deblurrt.runtime.live_flow import Flow
from deblurrt.runtime.live_lane import Lane
from deblurrt.runtime.network_job import Job
from deblurrt.runtime.terminal import Terminal

PERIOD_NS = 33_333_333
COUNT = 150
#: by then cameras are known to be synchronised, and every number of frames is prepared for
SETTLED = 40


def engine(one_ms: float, further_ms: float, jobs: list[Job] | None = None) -> Serve:
    """An engine that takes so long for one frame, and so much more for each further one of a batch."""

    def serve(job: Job) -> Service:
        if jobs is not None:
            jobs.append(job)
        return Service(round((one_ms + (job.decision.count - 1) * further_ms) * MS))

    return serve


def synchronised(cameras: int, count: int = COUNT, jitter_ms: float = 2.0) -> list[list[Frame]]:
    """Frames taken at the same moments, but for a jitter."""
    rng = random.Random(0)
    arrivals = []
    for camera in range(cameras):
        times_ns = [index * PERIOD_NS + round(rng.random() * jitter_ms * MS) for index in range(count)]
        arrivals.append(frames_at(times_ns, f"camera {camera}"))
    return arrivals


def run(scenario: Scenario) -> tuple[Simulation, Flow]:
    simulation = Simulation(scenario)
    flow = simulation.run()
    assert simulation.imbalances == []
    for ledger, frames in zip(simulation.ledgers, scenario.arrivals, strict=True):
        assert ledger.captured == sum(ledger.states.values()) == len(frames)
        assert ledger.missed == 0
    return simulation, flow


def six_cameras(**changes: Any) -> Scenario:
    """Six cameras of 30 fps, an engine of 10 ms whose batch of six takes half as long again."""
    scenario = Scenario(synchronised(6), engine(10, 1), PERIOD_NS, batch_max=None)
    return replace(scenario, **changes)


def settled_states(simulation: Simulation, camera: int) -> Counter[Terminal]:
    return Counter(result.state for result in simulation.results[camera][SETTLED:])


def test_six_synchronised_cameras_are_all_deblurred_together() -> None:
    simulation, flow = run(six_cameras())
    for camera in range(6):
        assert settled_states(simulation, camera) == {Terminal.DEBLURRED: COUNT - SETTLED}
    assert flow.batches[6] >= COUNT - SETTLED


@pytest.mark.parametrize("batch_max", [1, 2, None])
def test_share_of_deblurred_frames_grows_with_the_batch(batch_max: int | None) -> None:
    simulation, flow = run(six_cameras(batch_max=batch_max))
    deblurred = sum(settled_states(simulation, camera)[Terminal.DEBLURRED] for camera in range(6))
    share = deblurred / (6 * (COUNT - SETTLED))
    least, most = {1: (0.4, 0.52), 2: (0.6, 0.9), None: (1, 1)}[batch_max]
    assert least <= share <= most
    assert (max(flow.batches) == 1) == (batch_max == 1)


def test_every_camera_has_its_share_where_batches_do_not_suffice() -> None:
    simulation, _ = run(six_cameras(batch_max=2))
    deblurred = [settled_states(simulation, camera)[Terminal.DEBLURRED] for camera in range(6)]
    assert min(deblurred) >= 0.8 * max(deblurred)


def test_synchronised_frames_wait_for_each_other_no_longer_than_the_window() -> None:
    jobs: list[Job] = []
    run(six_cameras(serve=engine(10, 1, jobs)))
    batches = [job for job in jobs if job.decision.action == "run" and len(job.frames) == 6]
    assert len(batches) > COUNT // 2
    for job in batches:
        came_ns = [entry.came_ns for _, entry in job.frames]
        assert job.started_ns == max(came_ns)
        assert job.started_ns - min(came_ns) <= COLLECT_NS


def test_camera_late_now_and_then_does_not_hold_the_others() -> None:
    late = {(0, number): 20 * MS for number in range(SETTLED, COUNT, 10)}
    jobs: list[Job] = []
    simulation, flow = run(six_cameras(serve=engine(10, 1, jobs), delays_ns=late))
    for camera in range(1, 6):
        assert settled_states(simulation, camera) == {Terminal.DEBLURRED: COUNT - SETTLED}
    assert flow.batches[5] == len(late)
    partial = [job for job in jobs if job.decision.action == "run" and len(job.frames) == 5]
    for job in partial:
        assert job.started_ns - min(entry.came_ns for _, entry in job.frames) == COLLECT_NS


def test_camera_late_all_the_time_is_not_waited_for() -> None:
    late = {(0, number): 20 * MS for number in range(COUNT)}
    jobs: list[Job] = []
    simulation, flow = run(six_cameras(serve=engine(10, 1, jobs), delays_ns=late))
    for camera in range(1, 6):
        assert settled_states(simulation, camera)[Terminal.DEBLURRED] == COUNT - SETTLED
    assert flow.batches[5] >= COUNT - SETTLED
    assert flow.batches[6] == 0
    for job in jobs:
        if len(job.frames) == 5:
            assert job.started_ns == max(entry.came_ns for _, entry in job.frames)


def test_cameras_that_are_not_synchronised_are_not_batched() -> None:
    arrivals = [
        frames_at([11 * MS * camera + index * PERIOD_NS for index in range(COUNT)], f"camera {camera}")
        for camera in range(3)
    ]
    simulation, flow = run(Scenario(arrivals, engine(10, 1), PERIOD_NS, batch_max=None))
    assert set(flow.batches) == {1}
    for camera in range(3):
        assert settled_states(simulation, camera)[Terminal.DEBLURRED] == COUNT - SETTLED


def test_cameras_of_different_rates_are_hardly_batched_and_not_waited_for() -> None:
    arrivals = [
        frames_at([index * 33 * MS for index in range(COUNT)], "camera 0"),
        frames_at([7 * MS + index * 47 * MS for index in range(COUNT)], "camera 1"),
    ]
    jobs: list[Job] = []
    _, flow = run(Scenario(arrivals, engine(5, 0.5, jobs), 33 * MS, batch_max=None))
    assert flow.batches[2] < 0.02 * flow.batches[1]


def test_engine_that_gains_nothing_is_never_given_a_batch() -> None:
    simulation, flow = run(six_cameras(serve=engine(5, 5)))
    assert set(flow.batches) == {1}
    passed_warm_up = sum(ledger.states[Terminal.PASS_WARMUP] for ledger in simulation.ledgers)
    apart, _ = run(six_cameras(serve=engine(5, 5), batch_max=1))
    assert passed_warm_up - sum(ledger.states[Terminal.PASS_WARMUP] for ledger in apart.ledgers) <= 12


def test_engine_that_gains_up_to_three_frames_gets_three() -> None:
    def serve(job: Job) -> Service:
        count = job.decision.count
        return Service((10 + count if count <= 3 else 10 * count) * MS)

    _, flow = run(six_cameras(serve=serve))
    assert set(flow.batches) <= {1, 2, 3}
    assert flow.batches[3] > COUNT


def test_only_frames_of_one_size_go_together() -> None:
    arrivals = synchronised(4)
    tall = np.zeros((2, 1, 3), np.uint8)
    arrivals[2:] = [[replace(frame, pixels=tall) for frame in frames] for frames in arrivals[2:]]
    jobs: list[Job] = []
    simulation, flow = run(Scenario(arrivals, engine(6, 0.5, jobs), PERIOD_NS, batch_max=None))
    assert flow.batches[2] >= 2 * (COUNT - SETTLED)
    assert max(flow.batches) == 2
    for job in jobs:
        assert len({entry.frame.size for _, entry in job.frames}) == 1
    for camera in range(4):
        assert settled_states(simulation, camera) == {Terminal.DEBLURRED: COUNT - SETTLED}


def test_deadlines_of_single_cameras_are_kept() -> None:
    """Camera 0 must be out before a batch of all is done: it goes alone or with few, the others go together."""
    deadlines: Mapping[int, int] = {0: 16 * MS}
    arrivals = synchronised(4, jitter_ms=0)
    simulation, flow = run(Scenario(arrivals, engine(10, 3), PERIOD_NS, batch_max=None, deadlines_ns=deadlines))
    for camera in range(4):
        share = settled_states(simulation, camera)[Terminal.DEBLURRED] / (COUNT - SETTLED)
        assert share >= 0.45, camera
    assert flow.batches[2] + flow.batches[3] > COUNT // 2


def test_waiting_never_costs_the_first_frame_its_deadline() -> None:
    """A batch of two takes 20 of the 24 ms there are: the frame cannot wait the 5 ms of the window."""
    arrivals = synchronised(2, jitter_ms=0)
    late = {(1, number): 4 * MS for number in range(SETTLED, COUNT)}
    jobs: list[Job] = []
    simulation, _ = run(Scenario(arrivals, engine(15, 5, jobs), round(25.5 * MS), batch_max=None, delays_ns=late))
    assert settled_states(simulation, 0)[Terminal.DEBLURRED] == COUNT - SETTLED
    waits_ns = [job.started_ns - job.entry.came_ns for job in jobs if job.decision.action == "run"]
    assert 0 < max(waits_ns[2 * SETTLED :]) <= 3 * MS


def test_bad_picture_fails_its_own_frame_only() -> None:
    plain = engine(10, 1)

    def serve(job: Job) -> Service:
        bad = frozenset(number for number, (lane, _) in enumerate(job.frames) if lane.ledger.stream == "camera 2")
        return replace(plain(job), bad=bad)

    simulation, flow = run(six_cameras(serve=serve))
    assert flow.batches[6] > COUNT // 2
    for camera in range(6):
        expected = Terminal.PASS_FAULT if camera == 2 else Terminal.DEBLURRED
        assert settled_states(simulation, camera) == {expected: COUNT - SETTLED}
    assert flow.admission.lockout_reason is None


def test_pictures_that_are_all_bad_count_as_one_failure() -> None:
    plain, batches = engine(10, 1), []

    def serve(job: Job) -> Service:
        if len(job.frames) < 6:
            return plain(job)
        batches.append(job)
        return replace(plain(job), bad=frozenset(range(6)) if len(batches) % 5 else frozenset())

    _, flow = run(six_cameras(serve=serve))
    assert len(batches) > COUNT // 2
    assert flow.admission.lockout_reason is None


def test_network_that_fails_on_batches_goes_on_one_by_one() -> None:
    plain = engine(5, 0.5)

    def serve(job: Job) -> Service:
        fails = job.decision.count > 1 and job.started_ns > 100 * PERIOD_NS
        return replace(plain(job), fault="no memory" if fails else "")

    simulation, flow = run(six_cameras(serve=serve))
    assert flow.batches[6] > 0
    assert flow.admission.lockout_reason is None
    for camera in range(6):
        assert simulation.results[camera][-1].state is Terminal.DEBLURRED
        assert simulation.ledgers[camera].states[Terminal.PASS_FAULT] <= 5


@pytest.mark.parametrize("fault", ["", "no memory"])
def test_batch_that_cannot_be_prepared_ends_batches_and_nothing_else(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preparing for two frames fails, or hangs until the worker is replaced."""
    monkeypatch.setattr(live_flow, "BATCH_WARM_UP_HANG_NS", 100 * PERIOD_NS)
    plain = engine(5, 0.5)

    def serve(job: Job) -> Service:
        if not job.is_batch_warm_up:
            return plain(job)
        return Service(5 * MS, fault) if fault else Service(None)

    arrivals = synchronised(2, 300)
    simulation, flow = run(Scenario(arrivals, serve, PERIOD_NS, batch_max=None))
    assert set(flow.batches) == {1}
    for results in simulation.results:
        assert [result.state for result in results[-100:]] == [Terminal.DEBLURRED] * 100


def test_slow_stretch_ends_batches_for_a_while_only() -> None:
    def serve(job: Job) -> Service:
        is_slow = 200 * PERIOD_NS < job.started_ns < 250 * PERIOD_NS and job.decision.count > 1
        return Service((10 + (job.decision.count - 1) * (20 if is_slow else 1)) * MS)

    simulation, _ = run(six_cameras(arrivals=synchronised(6, 450), serve=serve))
    for results in simulation.results:
        assert [result.state for result in results[-100:]] == [Terminal.DEBLURRED] * 100


def test_larger_network_that_only_fits_in_batches_comes_back() -> None:
    def serve(job: Job) -> Service:
        slow = job.decision.rung == 0 and 100 * PERIOD_NS < job.started_ns < 300 * PERIOD_NS
        one_ms = 60 if slow else 20 if job.decision.rung == 0 else 2
        return Service(round(one_ms * (1 + 0.1 * (job.decision.count - 1)) * MS))

    simulation, _ = run(six_cameras(arrivals=synchronised(3, 600), serve=serve, models=("large", "small")))
    for results in simulation.results:
        models = [result.model for result in results]
        assert "small" in models[150:350]
        assert set(models[-100:]) == {"large"}


def lanes(count: int) -> list[Lane]:
    return [Lane(Ledger(f"camera {number}"), lambda _result: None) for number in range(count)]


def test_cameras_are_synchronised_after_some_moments_in_common_and_apart_after_some_missed() -> None:
    left, right = lanes(2)
    synchrony = Synchrony()
    seen = []
    for moment in range(20):
        captured_ns = moment * PERIOD_NS
        synchrony.add(left, captured_ns, captured_ns)
        if moment < 12:
            synchrony.add(right, captured_ns + 3 * MS, captured_ns + 4 * MS)
        seen.append(synchrony.is_together(left, right))
    assert seen.index(True) == 4
    assert seen[4:13] == [True] * 9
    assert not any(seen[-4:])


def test_camera_of_half_the_rate_waits_for_the_fast_one_and_not_the_other_way_round() -> None:
    fast, slow = lanes(2)
    synchrony = Synchrony()
    for moment in range(40):
        synchrony.add(fast, moment * PERIOD_NS, moment * PERIOD_NS)
        if moment % 2 == 0:
            synchrony.add(slow, moment * PERIOD_NS, moment * PERIOD_NS)
    assert synchrony.is_together(slow, fast)
    assert not synchrony.is_together(fast, slow)
