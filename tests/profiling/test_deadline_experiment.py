"""The deadline experiment under a virtual clock: what each policy must achieve with each engine."""

from __future__ import annotations

import pytest

from deblurrt.profiling.deadline_experiment import (
    DEADLINE_MS,
    ENGINES,
    FRAMES,
    HEADER,
    POLICIES,
    Row,
    simulated_row,
)

SPIKES, SLOW, SLOWER = ENGINES
DROP, PASS, ADMIT = POLICIES
MISS_RATE_MAX = 0.01


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, str], Row]:
    return {(engine, policy): simulated_row(engine, policy) for engine in ENGINES for policy in POLICIES}


def test_no_policy_loses_a_frame(rows: dict[tuple[str, str], Row]) -> None:
    for row in rows.values():
        assert row.lost == 0
        assert row.deblurred + row.late + row.passed + row.dropped == FRAMES


@pytest.mark.fault("E1", "spikes, constant 40 and 45 ms, under a virtual clock", "at most 1 % late")
@pytest.mark.parametrize("policy", [PASS, ADMIT])
@pytest.mark.parametrize("engine", ENGINES)
def test_untouched_frames_keep_the_deadline(rows: dict[tuple[str, str], Row], engine: str, policy: str) -> None:
    row = rows[engine, policy]
    assert row.miss_rate <= MISS_RATE_MAX
    assert (row.late, row.dropped) == (0, 0)
    assert row.p99_ms is not None
    assert row.p99_ms <= DEADLINE_MS


@pytest.mark.fault("E1", "constant 45 ms with admission, under a virtual clock", "at least 45 % deblurred")
def test_admission_restores_half_of_the_frames_of_an_engine_that_is_too_slow(
    rows: dict[tuple[str, str], Row],
) -> None:
    assert rows[SLOWER, ADMIT].deblurred >= 0.45 * FRAMES
    assert rows[SLOW, ADMIT].deblurred >= 0.6 * FRAMES
    assert rows[SLOWER, PASS].deblurred < 0.2 * FRAMES


def test_admission_costs_nothing_where_the_engine_is_fast(rows: dict[tuple[str, str], Row]) -> None:
    assert rows[SPIKES, ADMIT].deblurred == rows[SPIKES, PASS].deblurred >= 0.8 * FRAMES


def test_dropping_is_late_where_passing_is_not(rows: dict[tuple[str, str], Row]) -> None:
    assert rows[SLOWER, DROP].miss_rate > 0.4


def test_table_has_a_cell_for_every_column(rows: dict[tuple[str, str], Row]) -> None:
    columns = HEADER.splitlines()[0].count("|")
    assert {row.to_line().count("|") for row in rows.values()} == {columns}
