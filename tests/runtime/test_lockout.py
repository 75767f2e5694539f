from __future__ import annotations

from deblurrt.runtime.lockout import FAILURES_MAX, RETRY_MOST_NS, RETRY_NS, Lockout


def failed(times: int, now_ns: int = 0) -> Lockout:
    lockout = Lockout()
    for _ in range(times):
        lockout.fail("broken", now_ns)
    return lockout


def test_single_failures_keep_nothing_away() -> None:
    lockout = failed(FAILURES_MAX - 1)
    assert lockout.allows(0)
    lockout.clear()
    lockout.fail("broken", 0)
    assert lockout.allows(0)


def test_failures_in_a_row_keep_frames_away_until_a_try() -> None:
    lockout = failed(FAILURES_MAX)
    assert lockout.is_locked
    assert not lockout.allows(RETRY_NS - 1)
    assert lockout.allows(RETRY_NS)
    assert lockout.reason == "broken"


def test_try_that_succeeds_unlocks() -> None:
    lockout = failed(FAILURES_MAX)
    lockout.clear()
    assert lockout.allows(0)


def test_tries_in_vain_become_rare_and_never_end() -> None:
    lockout = failed(FAILURES_MAX + 1)
    assert not lockout.allows(2 * RETRY_NS - 1)
    lockout = failed(FAILURES_MAX + 100)
    assert lockout.allows(RETRY_MOST_NS)
