from __future__ import annotations

import math
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.runtime.latency import PERCENTILES, LatencyRecorder, LatencyReport, latency_text

#: half a bucket of one per cent and the rounding to a microsecond, both documented
RELATIVE, ABSOLUTE_MS = 0.01, 1e-3
#: one more table of counters would take over 17 kB
MEMORY_BYTES = 8_000

Seconds = NDArray[np.floating[Any]]
Draw = Callable[[np.random.Generator, int], Seconds]


def recorder_of(seconds: Seconds) -> LatencyRecorder:
    recorder = LatencyRecorder()
    for duration in seconds:
        recorder.add("network", float(duration))
    return recorder


def report_of(seconds: Seconds) -> LatencyReport:
    return recorder_of(seconds).report("network")


def percentile_ms(seconds: Seconds, share: int) -> float:
    """The definition in the docstring, without floating point: sorted[n - 1 - floor((1 - p) * n)]."""
    count = len(seconds)
    return float(np.sort(seconds)[max(count - 1 - count * (1000 - share) // 1000, 0)] * 1e3)


@pytest.mark.parametrize("count", [100, 101, 137, 1000, 4999])
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, count: rng.lognormal(-4, 1, count),
        lambda rng, count: rng.uniform(1e-5, 60, count),
        lambda rng, count: rng.choice([0.004, 0.016, 0.2], count),
        lambda rng, count: np.full(count, 0.0123),
    ],
    ids=["lognormal", "uniform", "three values", "one value"],
)
def test_percentiles_are_those_of_the_sorted_durations(draw: Draw, count: int) -> None:
    seconds = draw(np.random.default_rng(count), count)
    recorder = recorder_of(seconds)
    for name, share in PERCENTILES.items():
        exact_ms = pytest.approx(percentile_ms(seconds, share), rel=RELATIVE, abs=ABSOLUTE_MS)
        assert recorder.percentile("network", name) == exact_ms


@pytest.mark.parametrize("count", range(1, 40))
def test_percentiles_of_few_durations_take_the_defined_one(count: int) -> None:
    seconds = np.arange(1, count + 1) * 1e-3
    recorder = recorder_of(seconds)
    for name, share in PERCENTILES.items():
        assert recorder.percentile("network", name) == pytest.approx(percentile_ms(seconds, share), rel=RELATIVE)


@pytest.mark.parametrize(("name", "least"), [("p50", 20), ("p90", 100), ("p99", 1000), ("p99.9", 10_000)])
def test_percentiles_are_reported_from_ten_slower_frames_on(name: str, least: int) -> None:
    recorder = recorder_of(np.full(least - 1, 0.01))
    assert recorder.report("network").to_dict()[name] is None
    recorder.add("network", 0.01)
    assert recorder.report("network").to_dict()[name] == pytest.approx(10, rel=RELATIVE)


def test_text_names_the_percentiles_that_have_too_few_frames() -> None:
    text = latency_text(LatencyReport(150, 10.0, 10.0, None, None, 10.0).to_dict())
    assert text == "p50 10.0 ms, p90 10.0 ms, max 10.0 ms, p99, p99.9: n too small (150 frames)"
    assert latency_text(LatencyRecorder().report("network").to_dict()) == "no frame"


def test_count_and_slowest_are_exact() -> None:
    report = report_of(np.array([0.001, 0.123456, 0.02]))
    assert (report.count, report.max) == (3, 123.456)


def test_no_percentile_is_slower_than_the_slowest() -> None:
    report = report_of(np.full(1000, 0.0100001))
    assert report.p99 is not None
    assert report.max == 10.0
    assert report.p99 <= report.max


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 7200.0])
def test_durations_beyond_the_buckets_are_counted(seconds: float) -> None:
    report = report_of(np.full(100, seconds))
    assert report.count == 100
    assert report.max == round(seconds * 1e3, 3)
    assert report.p50 is not None
    assert math.isfinite(report.p50)


def test_stage_never_recorded_has_no_percentiles() -> None:
    assert LatencyRecorder().report("encode") == LatencyReport(0, None, None, None, None, None)


def test_stages_are_apart_and_in_order_of_first_use() -> None:
    recorder = LatencyRecorder()
    for stage, seconds in (("network", 0.1), ("decode", 0.2), ("network", 0.3)):
        recorder.add(stage, seconds)
    assert recorder.stages == ["network", "decode"]
    assert [recorder.report(stage).count for stage in recorder.stages] == [2, 1]


def test_report_writes_plain_values() -> None:
    assert LatencyReport(2, 1.0, None, None, None, 2.0).to_dict() == {
        "count": 2,
        "p50": 1.0,
        "p90": None,
        "p99": None,
        "p99.9": None,
        "max": 2.0,
    }


def test_memory_does_not_grow_with_the_stream() -> None:
    recorder = LatencyRecorder()
    recorder.add("network", 0.01)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for frame in range(3000):
            recorder.add("network", frame * 1e-4)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < MEMORY_BYTES


def test_threads_lose_no_duration() -> None:
    recorder = LatencyRecorder()
    together = threading.Barrier(3)

    def record() -> None:
        together.wait()
        for _ in range(500):
            recorder.add("network", 0.01)

    threads = [threading.Thread(target=record) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.report("network").count == 1500
