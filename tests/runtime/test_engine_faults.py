"""What a network can do wrong in a whole live run with outputs on disk; frames go on, untouched and exact."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.pictures import read_picture
from deblurrt.core.tensors import Array
from deblurrt.profiling.deadline_experiment import DEADLINE_MS, ENGINES, FPS, SIZE, durations_ms
from deblurrt.profiling.scripted_runs import MovingPicture, SleepingBackend, run_scripted
from deblurrt.runtime import lockout
from deblurrt.runtime.live_job import LiveJobConfig, run_live
from deblurrt.runtime.live_runner import LiveConfig
from deblurrt.runtime.live_source import LiveSource
from deblurrt.runtime.lockout import FAILURES_MAX
from deblurrt.runtime.paced_source import PacedSource
from deblurrt.runtime.session import Session
from deblurrt.runtime.terminal import Result, Terminal
from tests.fakes import FakeBackend
from tests.live_fakes import PATIENCE_S, KeptResults, ScriptedSource, camera_script, scripted_session, textured
from tests.runtime.test_guard import FLOAT_IN, FLOAT_OUT
from tests.servers.run_process import times_in

full = pytest.mark.full
Compute = Callable[[Array], Array]
OpenSessions = Callable[[], list[Session]]

#: no frame is late in these tests, however slow the machine
LEISURE_MS = 60_000.0
FRAMES = 40
#: shorter than the wait before a network that was left alone is tried again
PERIOD_S = 0.01


def run_into_files(
    tmp_path: Path, source: LiveSource, open_sessions: OpenSessions, deadline_ms: float = LEISURE_MS
) -> tuple[dict[str, Any], list[Result]]:
    """Run into a folder of exact pictures, a video and memory; every account must balance."""
    kept = KeptResults()
    places = str(tmp_path / "frames"), str(tmp_path / "out.mkv")
    config = LiveJobConfig(LiveConfig(deadline_ms))
    summary = run_live([source], open_sessions, [*places, kept], config)
    assert summary["imbalances"] == []
    assert summary["captured"] == sum(summary["states"].values())
    assert summary["emitted"] == dict.fromkeys((*places, "kept"), len(kept.results))
    assert len(times_in(tmp_path / "out.mkv")) == len(kept.results)
    return summary, kept.results


def assert_untouched(tmp_path: Path, results: list[Result]) -> None:
    """The frames the network had no part in lie on the disk, byte for byte as they were captured."""
    pictures = sorted((tmp_path / "frames").iterdir())
    assert len(pictures) == len(results)
    for path, result in zip(pictures, results, strict=True):
        if result.state is not Terminal.DEBLURRED:
            assert np.array_equal(read_picture(path), result.frame.pixels), result.frame.seq


def raise_defect(_frames: Array) -> Array:
    raise ZeroDivisionError("a defect of the network")


def with_value(value: float) -> Compute:
    def compute(frames: Array) -> Array:
        damaged = frames.copy()
        damaged[0, 1, 5, 7] = value
        return damaged

    return compute


def repeat_first() -> Compute:
    kept: list[Array] = []

    def compute(frames: Array) -> Array:
        kept.append(frames.copy())
        return kept[0]

    return compute


def float_session(compute: Compute) -> Session:
    return Session(FakeBackend(compute, FLOAT_IN, FLOAT_OUT), FrameContract(io="float"), "scripted")


def well_until_warm(compute: Compute, first: Array) -> tuple[Compute, list[bool]]:
    """A network that is well while it is prepared, with blank pictures and the first frame, and not afterwards."""
    calls: list[bool] = []

    def network(frames: Array) -> Array:
        if not frames.any() or np.array_equal(frames[0], first):
            return frames
        calls.append(True)
        return compute(frames)

    return network, calls


FIRST = textured(0)
FIRST_FLOAT = (FIRST.transpose(2, 0, 1) / np.float32(255)).astype(np.float32)


@pytest.mark.fault(
    "E2",
    "network raises, gives NaN, Inf, another shape, black, nonsense, the same picture again",
    "`PASS_FAULT`, left alone after five, untouched bytes in the outputs",
)
@pytest.mark.parametrize(
    ("compute", "open_session", "told"),
    [
        (raise_defect, scripted_session, "a defect of the network"),
        (with_value(float("nan")), float_session, "no numbers"),
        (with_value(float("inf")), float_session, "no numbers"),
        (lambda frames: frames[:, 4:], scripted_session, "expected"),
        (np.zeros_like, scripted_session, "black"),
        (lambda frames: 255 - frames, scripted_session, "grey levels"),
        (repeat_first(), scripted_session, "same picture"),
    ],
    ids=["exception", "nan", "inf", "shape", "black", "nonsense", "frozen"],
)
def test_failing_network_leaves_the_frames_untouched_and_is_left_alone(
    compute: Compute, open_session: Callable[[Compute], Session], told: str, tmp_path: Path
) -> None:
    network, calls = well_until_warm(compute, FIRST_FLOAT if open_session is float_session else FIRST)
    source = ScriptedSource(camera_script(FRAMES, period_s=PERIOD_S))
    summary, results = run_into_files(tmp_path, source, lambda: [open_session(network)])
    assert_untouched(tmp_path, results)
    assert len(results) == FRAMES
    failed = [result for result in results if result.state is Terminal.PASS_FAULT]
    # all but those that came while the network was prepared or busy
    assert len(failed) > FRAMES / 4
    assert all(told in result.reason for result in failed)
    assert "left alone after 5 failures" in failed[-1].reason
    assert told in summary["locked_out"]
    well = sum(result.state is Terminal.DEBLURRED for result in results)
    # tried again after a second, should this machine have needed so long
    assert FAILURES_MAX <= len(calls) - well <= FAILURES_MAX + 1


@pytest.mark.fault("E2", "network fails ten times, then is well", "tried now and then, taken back")
def test_network_that_is_well_again_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockout, "RETRY_NS", 20_000_000)
    monkeypatch.setattr(lockout, "RETRY_MOST_NS", 20_000_000)
    calls: list[bool] = []

    def fail_ten_times(frames: Array) -> Array:
        return frames if len(calls) > 10 else raise_defect(frames)

    network, calls = well_until_warm(fail_ten_times, FIRST)
    well = KeptResults("well")

    def script() -> Iterator[Any]:
        for frame in camera_script(10**6, period_s=PERIOD_S):
            if sum(result.state is Terminal.DEBLURRED for result in well.results) > 10:
                return
            yield frame

    source = ScriptedSource(script())
    config = LiveJobConfig(LiveConfig(LEISURE_MS))
    summary = run_live([source], lambda: [scripted_session(network)], [str(tmp_path / "frames"), well], config)
    assert_untouched(tmp_path, well.results)
    assert summary["locked_out"] is None
    assert summary["states"]["pass_fault"] >= 10
    assert well.results[-1].state is Terminal.DEBLURRED


#: runs until a network hangs, its preparation among them
WELL_RUNS = 20


class Hanging:
    """Networks that hang after some runs, the first ``times`` that are opened, until ``goes_on`` is set."""

    def __init__(self, times: int) -> None:
        self.goes_on = threading.Event()
        self._times = times

    def open(self) -> list[Session]:
        self._times -= 1
        hangs, runs = self._times >= 0, itertools.count(1)

        def compute(frames: Array) -> Array:
            if next(runs) > WELL_RUNS and hangs:
                self.goes_on.wait(PATIENCE_S)
            return frames

        return [scripted_session(compute)]


def run_hanging(tmp_path: Path, times: int, seconds: float) -> tuple[dict[str, Any], list[Result], int]:
    """Run networks that hang; also how many frames were late."""
    fps, deadline_ms = 20, 100.0
    hanging, before = Hanging(times), set(threading.enumerate())
    source = ScriptedSource(camera_script(round(fps * seconds), period_s=1 / fps), fps=fps)
    try:
        summary, results = run_into_files(tmp_path, source, hanging.open, deadline_ms)
    finally:
        hanging.goes_on.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
    assert set(threading.enumerate()) <= before, "a thread is left that could end"
    return summary, results, sum(result.total_ms > deadline_ms for result in results)


@full
@pytest.mark.fault("E1", "network hangs once", "given up after 2 s, opened anew, untouched frames meanwhile")
def test_one_hang_costs_the_network_a_restart(tmp_path: Path, fault_result: Callable[[str], None]) -> None:
    summary, results, late = run_hanging(tmp_path, times=1, seconds=7.0)
    assert_untouched(tmp_path, results)
    assert summary["network_restarts"] == 1
    assert any("gave nothing for 2." in result.reason for result in results)
    assert Terminal.DEBLURRED in {result.state for result in results[-10:]}
    assert late <= len(results) / 10
    fault_result(f"{summary['states']['deblurred']} of {len(results)} deblurred, {late} late")


@full
@pytest.mark.fault("E1", "network hangs every time it is opened", "given up three times, then untouched to the end")
def test_network_that_hangs_for_ever_ends_deblurring_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault_result: Callable[[str], None]
) -> None:
    summary, results, late = run_hanging(tmp_path, times=10**6, seconds=13.0)
    assert_untouched(tmp_path, results)
    assert sum("it is given up" in message for message in caplog.messages) == 3
    assert "gave nothing for" in results[-1].reason
    assert results[-1].state is Terminal.PASS_FAULT
    assert summary["incomplete"] == "cam: the script is over"  # the camera's end, nothing else
    assert late <= len(results) / 10
    fault_result(f"{summary['states']['deblurred']} of {len(results)} deblurred, all went out, {late} late")


@full
@pytest.mark.fault("E1", "network of 20 ms with spikes of 150 ms; of 45 ms", "nothing lost; the rest in time")
@pytest.mark.parametrize("engine", [name for name in ENGINES if "40" not in name])
def test_slow_network_loses_no_frame(engine: str, tmp_path: Path, fault_result: Callable[[str], None]) -> None:
    durations = itertools.chain(itertools.repeat(ENGINES[engine][0], 10), durations_ms(engine), itertools.repeat(20.0))
    session = Session(SleepingBackend(durations), FrameContract(), "scripted")
    source = PacedSource(MovingPicture((SIZE[0] // 4, SIZE[1] // 4), FPS, 150))
    summary, results = run_into_files(tmp_path, source, lambda: [session], DEADLINE_MS)
    assert_untouched(tmp_path, results)
    assert len(results) == summary["captured"] == 150
    assert summary["incomplete"] is None
    assert summary["states"]["deblurred"] > 0
    fault_result(
        f"{summary['states']['deblurred']} of 150 deblurred, none lost, {summary['deadline_miss_rate']:.1%} late"
    )


@full
@pytest.mark.fault("E5", "a Python thread that never rests beside the run", "hand-off p50 < half a period; p99 is said")
def test_busy_python_thread_does_not_starve_the_run(fault_result: Callable[[str], None]) -> None:
    is_over = threading.Event()

    def spin() -> None:
        while not is_over.is_set():
            sum(range(1000))

    def added_ms() -> tuple[float, float]:
        ledger, added = run_scripted(itertools.repeat(5.0), LiveConfig(LEISURE_MS), (180, 320), FPS, 150)
        assert ledger.captured == sum(ledger.states.values()) == 150
        p50_ms, p99_ms = added.percentile("added", "p50"), added.percentile("added", "p99")
        assert p50_ms is not None
        assert p99_ms is not None
        return p50_ms, p99_ms

    alone_ms = added_ms()
    busy = threading.Thread(target=spin)
    busy.start()
    try:
        beside_ms = added_ms()
    finally:
        is_over.set()
        busy.join()
    assert beside_ms[0] < 1000 / FPS / 2
    alone, beside = (f"p50 {p50_ms:.1f}, p99 {p99_ms:.1f} ms" for p50_ms, p99_ms in (alone_ms, beside_ms))
    fault_result(f"alone {alone}; beside {beside}")


@pytest.mark.fault("R3", "wall clock steps by hours, to and fro", "no effect: order, times, states")
def test_steps_of_the_wall_clock_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    steps = itertools.cycle([7200.0, -7200.0, 1.0, 86_400.0, -100_000.0])
    now_s = time.time()
    looks: list[float] = []

    def stepping_s() -> float:
        looks.append(now_s + next(steps))
        return looks[-1]

    monkeypatch.setattr(time, "time", stepping_s)
    monkeypatch.setattr(time, "time_ns", lambda: round(stepping_s() * 1e9))
    began_ns = time.monotonic_ns()
    source = ScriptedSource(camera_script(FRAMES, period_s=PERIOD_S))
    _, results = run_into_files(tmp_path, source, lambda: [scripted_session(lambda frames: frames)])
    monkeypatch.undo()
    took_ms = (time.monotonic_ns() - began_ns) / 1e6
    assert looks, "nobody looked at the clock: this test steps the wrong one"
    assert [result.frame.seq for result in results] == list(range(FRAMES))
    assert all(0 <= result.total_ms <= took_ms for result in results)
    assert {result.state for result in results} <= {Terminal.DEBLURRED, Terminal.PASS_WARMUP, Terminal.PASS_SUPERSEDED}
    times_s = times_in(tmp_path / "out.mkv")
    assert times_s == sorted(times_s)
    assert times_s[-1] <= took_ms / 1e3
