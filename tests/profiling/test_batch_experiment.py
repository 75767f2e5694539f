"""The batch experiment under a virtual clock, and that the page shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from deblurrt.profiling.batch_experiment import CAMERAS, CASES, COUNTS, HEADER, Case, Row, ratios_of, simulated_row
from tests.fakes import fake_session

PAGE = Path(__file__).parents[2] / "docs" / "live.md"
APART, NO_GAIN, SOME_GAIN, GAIN, ONE_LATE, UNSYNCHRONISED = CASES


@pytest.fixture(scope="module")
def rows() -> dict[Case, Row]:
    return {case: simulated_row(case) for case in CASES}


def test_page_shows_these_figures(rows: dict[Case, Row]) -> None:
    table = "\n".join([HEADER, *(row.to_line() for row in rows.values())])
    assert table in PAGE.read_text(encoding="utf-8")


def test_batches_restore_every_frame_of_which_one_by_one_only_half_is(rows: dict[Case, Row]) -> None:
    assert rows[APART].deblurred <= 0.52
    assert rows[GAIN].deblurred == 1
    assert rows[GAIN].most == CAMERAS
    assert rows[APART].deblurred < rows[SOME_GAIN].deblurred < 1


def test_nothing_is_batched_where_nothing_is_gained_or_cameras_are_not_synchronised(rows: dict[Case, Row]) -> None:
    assert rows[NO_GAIN].most == rows[UNSYNCHRONISED].most == rows[APART].most == 1
    assert rows[NO_GAIN].deblurred == pytest.approx(rows[APART].deblurred, abs=0.01)


def test_late_camera_costs_no_frame(rows: dict[Case, Row]) -> None:
    assert rows[ONE_LATE].deblurred == 1
    assert rows[ONE_LATE].mean > CAMERAS - 1


def test_no_frame_is_late(rows: dict[Case, Row]) -> None:
    assert [row.missed for row in rows.values()] == [0] * len(CASES)


def test_measuring_gives_a_share_for_every_number() -> None:
    ratios = ratios_of(fake_session(), (8, 8), COUNTS, rounds=3)
    assert len(ratios) == len(COUNTS)
    assert all(ratio > 0 for ratio in ratios)
