from __future__ import annotations

from deblurrt.runtime.ladder import FRAMES_MIN, RETRY_NS, Ladder

PERIOD_NS = 33_000_000


def lower(ladder: Ladder, start_ns: int = 0) -> int:
    """Let frames stay without result until the rung changes; the time of it."""
    for index in range(1000):
        now_ns = start_ns + index * PERIOD_NS
        if ladder.observe(False, now_ns):
            return now_ns
    raise AssertionError("the rung never changed")


def test_too_many_frames_without_result_lead_down_a_rung() -> None:
    ladder = Ladder(2)
    assert lower(ladder) == (FRAMES_MIN - 1) * PERIOD_NS
    assert ladder.rung == 1


def test_a_few_do_not() -> None:
    ladder = Ladder(2)
    for index in range(1000):
        assert not ladder.observe(index % 6 != 0, index * PERIOD_NS)
    assert ladder.rung == 0


def test_lowest_rung_stays() -> None:
    ladder = Ladder(2)
    lower(ladder)
    assert not any(ladder.observe(False, index * PERIOD_NS) for index in range(1000))


def test_larger_network_is_tried_later_and_taken_where_it_is_fast_enough() -> None:
    ladder = Ladder(2)
    now_ns = lower(ladder)
    assert not ladder.wants_retry(now_ns + RETRY_NS - 1)
    assert ladder.wants_retry(now_ns + RETRY_NS)
    assert ladder.retried(20_000_000, PERIOD_NS, now_ns + RETRY_NS)
    assert ladder.rung == 0


def test_try_in_vain_is_repeated_later_and_later() -> None:
    ladder = Ladder(2)
    now_ns = lower(ladder) + RETRY_NS
    assert not ladder.retried(32_000_000, PERIOD_NS, now_ns)
    assert not ladder.retried(None, PERIOD_NS, now_ns)
    assert ladder.rung == 1
    assert not ladder.wants_retry(now_ns + 4 * RETRY_NS - 1)
    assert ladder.wants_retry(now_ns + 4 * RETRY_NS)
