from __future__ import annotations

from deblurrt.runtime.service_time import (
    PROBE_AFTER,
    PROBE_AFTER_FAR,
    PROBE_AFTER_NEAR_MOST,
    WINDOW,
    ServiceTime,
)

MS = 1_000_000


def test_spikes_do_not_move_the_estimate() -> None:
    times = ServiceTime([20 * MS])
    for run in range(WINDOW):
        times.add(150 * MS if run % 5 == 0 else 20 * MS)
    assert times.estimate_ns == 20 * MS


def test_lasting_slowness_does() -> None:
    times = ServiceTime([20 * MS] * WINDOW)
    for _ in range(WINDOW // 2):
        times.add(60 * MS)
    assert times.estimate_ns == 60 * MS


def test_what_cannot_finish_is_refused_and_tried_now_and_then() -> None:
    times = ServiceTime([60 * MS])
    verdicts = [times.verdict(50 * MS) for _ in range(2 * PROBE_AFTER_FAR[0])]
    assert verdicts.count("probe") == 2
    assert verdicts.count("run") == 0
    assert ServiceTime([60 * MS]).verdict(60 * MS) == "run"
    assert ServiceTime([60 * MS]).verdict(None) == "run"


def test_one_fast_try_ends_a_slow_stretch() -> None:
    times = ServiceTime([60 * MS] * WINDOW)
    times.add_probe(20 * MS, 50 * MS)
    assert times.verdict(50 * MS) == "run"


def test_tries_in_vain_become_rare() -> None:
    times = ServiceTime([60 * MS])
    for _ in range(10):
        times.add_probe(60 * MS, 50 * MS)
    verdicts = [times.verdict(50 * MS) for _ in range(PROBE_AFTER_FAR[1])]
    assert verdicts.index("probe") == PROBE_AFTER_FAR[1] - 1


def test_where_little_time_is_missing_tries_come_soon_and_stay_frequent() -> None:
    times = ServiceTime([51 * MS])
    assert [times.verdict(50 * MS) for _ in range(PROBE_AFTER)] == ["refuse"] * (PROBE_AFTER - 1) + ["probe"]
    for _ in range(10):
        times.add_probe(51 * MS, 50 * MS)
    verdicts = [times.verdict(50 * MS) for _ in range(PROBE_AFTER_NEAR_MOST)]
    assert verdicts.index("probe") == PROBE_AFTER_NEAR_MOST - 1
