"""How late threads wake, and what is kept before deadlines for it."""

from __future__ import annotations

from deblurrt.runtime.wake_lateness import LEAST_NS, LEAST_WAKINGS, MOST_NS, WINDOW, WORK_NS, WakeLateness


def test_nothing_is_said_of_too_few_wakings() -> None:
    lateness = WakeLateness()
    for _ in range(LEAST_WAKINGS - 1):
        lateness.add(1_000_000)
    assert lateness.guard_ns is None
    lateness.add(1_000_000)
    assert lateness.guard_ns == 1_000_000 + WORK_NS


def test_one_waking_in_a_hundred_may_be_later() -> None:
    lateness = WakeLateness()
    for number in range(WINDOW):
        lateness.add(2_000_000 if number == 7 else 600_000)
    assert lateness.guard_ns == 600_000 + WORK_NS


def test_it_stays_between_an_idle_and_a_hopeless_machine() -> None:
    for late_ns, guard_ns in ((10_000, LEAST_NS), (50_000_000, MOST_NS)):
        lateness = WakeLateness()
        for _ in range(WINDOW):
            lateness.add(late_ns)
        assert lateness.guard_ns == guard_ns


def test_a_slow_stretch_is_forgotten() -> None:
    lateness = WakeLateness()
    for late_ns in (20_000_000, 200_000):
        for _ in range(WINDOW):
            lateness.add(late_ns)
    assert lateness.guard_ns == LEAST_NS
