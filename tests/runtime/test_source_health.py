from __future__ import annotations

import random
from itertools import pairwise

import pytest

from deblurrt.runtime.source_health import Backoff, GapCounter, HealthLimits, StallWatch

LIMITS = HealthLimits(jitter=0.0)


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(LIMITS)
    assert [backoff.after(0.0) for _ in range(8)] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_healthy_connection_makes_the_next_wait_the_first() -> None:
    backoff = Backoff(LIMITS)
    waits = [backoff.after(healthy_s) for healthy_s in (0.0, 0.0, 9.9, 10.0, 0.0)]
    assert waits == [0.25, 0.5, 1.0, 0.25, 0.5]


def test_waits_vary_within_the_jitter() -> None:
    limits = HealthLimits(longest_retry_s=0.25)
    backoff = Backoff(limits, random.Random(0))
    waits = [backoff.after(0.0) for _ in range(200)]
    assert min(waits) >= 0.25 * 0.8
    assert max(waits) <= 0.25 * 1.2
    assert max(waits) - min(waits) > 0.25 * 0.3


def test_opening_has_its_own_deadline() -> None:
    watch = StallWatch(LIMITS, 30.0, now_s=100.0)
    assert watch.remaining_s(104.0) == pytest.approx(LIMITS.open_s - 4)


def test_a_fast_source_stalls_after_the_least_time() -> None:
    watch = StallWatch(LIMITS, 30.0, now_s=0.0)
    watch.saw_frame(5.0)
    assert watch.remaining_s(5.0) == LIMITS.stall_s


def test_a_slow_source_stalls_after_so_many_periods() -> None:
    watch = StallWatch(LIMITS, 2.0, now_s=0.0)
    watch.saw_frame(5.0)
    assert watch.remaining_s(5.0) == 10 * 0.5


def test_signs_of_life_put_off_the_end_but_not_for_ever() -> None:
    watch = StallWatch(LIMITS, 30.0, now_s=0.0)
    watch.saw_frame(0.0)
    watch.saw_life(0.9)
    assert watch.remaining_s(0.9) == pytest.approx(LIMITS.stall_s)
    watch.saw_life(9.9)
    assert watch.remaining_s(9.9) == pytest.approx(10 * LIMITS.stall_s - 9.9)


def test_signs_of_life_are_no_first_frame() -> None:
    watch = StallWatch(LIMITS, 30.0, now_s=0.0)
    watch.saw_life(9.0)
    assert watch.remaining_s(9.0) == pytest.approx(LIMITS.open_s - 9)


@pytest.mark.parametrize("declared", [None, 0.0, 90_000.0, 30.0])
def test_observed_period_wins_over_a_declared_one(declared: float | None) -> None:
    watch = StallWatch(LIMITS, declared, now_s=0.0)
    for index in range(12):
        watch.saw_frame(index * 0.2)
    assert watch.period_s == pytest.approx(0.2)
    assert watch.limit_s == pytest.approx(2.0)


def test_gaps_of_a_steady_stream_are_counted_exactly() -> None:
    kept = [index for index in range(300) if index not in (40, 100, 101, 102, 250)]
    counter = GapCounter()
    assert sum(counter.missed_before(index / 30) for index in kept) == 5


def test_clock_jitter_is_no_gap() -> None:
    rng = random.Random(1)
    counter = GapCounter()
    assert sum(counter.missed_before(index / 30 + rng.uniform(-0.001, 0.001)) for index in range(300)) == 0


def test_a_stream_of_varying_rate_has_no_gaps() -> None:
    rng = random.Random(2)
    times = [0.0]
    for _ in range(200):
        times.append(times[-1] + rng.choice([0.017, 0.033, 0.1]))
    assert all(later > earlier for earlier, later in pairwise(times))
    counter = GapCounter()
    assert sum(counter.missed_before(one) for one in times) == 0


def test_stamps_that_are_missing_or_jump_back_are_no_gaps() -> None:
    counter = GapCounter()
    stamps = [*(index / 30 for index in range(20)), None, 5.0, 0.0, 1 / 30]
    assert [counter.missed_before(stamp) for stamp in stamps] == [0] * len(stamps)
