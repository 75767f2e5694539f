from __future__ import annotations

import pytest

from deblurrt.runtime.source_account import SourceAccount

MS = 1_000_000
PERIOD_MS = 40
NOTHING = {"last": None, "worst": None}


def account_of(times_ms: list[int], began_ms: int = 0, period_ms: int = PERIOD_MS) -> SourceAccount:
    account = SourceAccount(began_ms * MS)
    account.period_ns = period_ms * MS
    for time_ms in times_ms:
        account.saw_frame(time_ms * MS, 0)
    return account


def test_nothing_is_known_before_the_first_frame() -> None:
    values = account_of([]).to_dict(10_000 * MS)
    assert values["time_to_first_frame_s"] is None
    assert values["time_to_first_deblurred_s"] is None
    assert (values["stalls"], values["stall_s"], values["time_to_recover_s"]) == (0, 0, NOTHING)


def test_first_frame_and_first_restored_one_count_from_the_beginning_of_the_run() -> None:
    account = account_of([1500, 1540], began_ms=1000)
    for out_ms in (1560, 1600):
        account.saw_deblurred(out_ms * MS)
    values = account.to_dict(1600 * MS)
    assert (values["time_to_first_frame_s"], values["time_to_first_deblurred_s"]) == (0.5, 0.56)


def test_frame_captured_before_the_run_took_no_time() -> None:
    assert account_of([900], began_ms=1000).to_dict(1000 * MS)["time_to_first_frame_s"] == 0


@pytest.mark.parametrize(("period_ms", "gap_ms", "stalls"), [(40, 250, 0), (40, 251, 1), (200, 600, 0), (200, 601, 1)])
def test_stall_is_a_gap_of_a_quarter_second_and_of_three_periods(period_ms: int, gap_ms: int, stalls: int) -> None:
    values = account_of([0, gap_ms], period_ms=period_ms).to_dict(gap_ms * MS)
    assert (values["stalls"], values["stall_s"]) == (stalls, stalls * gap_ms / 1000)


def test_stall_that_goes_on_grows_until_the_end() -> None:
    account = account_of([0, 40])
    assert account.to_dict(100 * MS)["stall_s"] == 0
    assert account.to_dict(1040 * MS)["stall_s"] == 1.0
    account.finish(2040 * MS)
    account.finish(9000 * MS)
    values = account.to_dict(10_000 * MS)
    assert (values["stalls"], values["stall_s"]) == (1, 2.0)


def test_recovery_counts_from_the_first_loss_to_the_next_frame() -> None:
    account = account_of([0, 40])
    for lost_ms, again_ms, back_ms in ((1040, 1300, 3040), (4000, 4100, 4500)):
        account.saw_loss(lost_ms * MS)
        account.saw_loss(again_ms * MS)
        account.saw_frame(back_ms * MS, 1)
    values = account.to_dict(4500 * MS)
    assert values["time_to_recover_s"] == {"last": 0.5, "worst": 2.0}
    assert values["stall_s"] == 3.0 + 1.46


def test_loss_before_the_first_frame_is_no_recovery() -> None:
    account = account_of([])
    account.saw_loss(10 * MS)
    account.saw_frame(500 * MS, 0)
    assert account.to_dict(500 * MS)["time_to_recover_s"] == NOTHING
