"""Tile arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from deblurrt.core.errors import UsageError
from deblurrt.runtime.tile_plan import Size, TilePlan, TileRule, plan_tiles

RULE = TileRule(limit=(64, 80), halo_px=9, multiple=8)


def plans(count: int) -> Iterator[tuple[TilePlan, TileRule]]:
    """Plans of many sizes, odd ones too; what the rule refuses is passed over."""
    rng = np.random.default_rng(0)
    while count:
        frame, limit = ((int(a), int(b)) for a, b in rng.integers(1, 400, (2, 2)))
        multiple = int(rng.choice([1, 2, 3, 4, 8, 16]))
        rule = TileRule(limit, int(rng.integers(0, 40)), multiple, multiple, is_fixed=bool(rng.integers(2)))
        try:
            yield plan_tiles(frame, rule), rule
        except UsageError:
            continue
        count -= 1


def test_every_pixel_is_kept_once() -> None:
    for plan, _ in plans(400):
        kept = np.zeros(plan.frame, np.uint8)
        for tile in plan.tiles:
            kept[slice(*tile.rows.kept), slice(*tile.columns.kept)] += 1
        assert np.all(kept == 1)


def test_tiles_begin_at_multiples_and_have_one_size_within_the_limit() -> None:
    for plan, rule in plans(2000):
        for axis, spans in enumerate((plan.rows, plan.columns)):
            assert all(span.read[0] % rule.multiple == 0 for span in spans)
            assert {span.read[1] - span.read[0] for span in spans} == {plan.tile[axis]}
            assert plan.tile[axis] <= rule.limit[axis]
            if rule.is_fixed and len(spans) > 1:
                assert plan.tile[axis] == rule.limit[axis]


def test_kept_pixels_have_their_halo_inside_the_tile_or_end_with_the_frame() -> None:
    for plan, rule in plans(2000):
        for axis, spans in enumerate((plan.rows, plan.columns)):
            assert spans[0].read[0] == 0
            assert all(span.kept[0] - span.read[0] >= rule.halo_px for span in spans[1:])
            assert all(span.read[1] - span.kept[1] >= rule.halo_px for span in spans[:-1])
            # what the last tile reads behind the frame is what the network itself would add
            behind = spans[-1].read[1] - plan.frame[axis]
            assert behind in (0, -plan.frame[axis] % rule.multiple)


@pytest.mark.parametrize("frame", [(64, 80), (1, 1), (63, 11)])
def test_frame_within_the_limit_is_one_tile(frame: Size) -> None:
    plan = plan_tiles(frame, RULE)
    assert (plan.is_whole, plan.tile, plan.cost) == (True, frame, 1)


def test_only_the_axis_that_is_too_long_is_cut() -> None:
    plan = plan_tiles((50, 200), RULE)
    assert (len(plan.rows), len(plan.columns), plan.tile) == (1, 4, (50, 72))
    assert plan.cost == 4 * 72 / 200


def test_tiles_are_no_larger_than_their_number_needs() -> None:
    # two tiles of 64 would do as well; 24 of a tile are overlap
    assert plan_tiles((72, 80), RULE).tile == (48, 80)


def test_too_small_tile_names_the_smallest() -> None:
    with pytest.raises(UsageError) as caught:
        plan_tiles((100, 200), replace(RULE, limit=(24, 100)))
    assert str(caught.value) == (
        "the tile 24x100 is too small for frames of 100x200: the halo of 9 px on both sides, in steps of 8 px, leaves "
        "nothing of it; the smallest tile for it is --tile 32x100"
    )
    assert plan_tiles((100, 200), replace(RULE, limit=(32, 100))).tile == (32, 88)


def test_tile_below_the_smallest_size_of_the_network_is_refused() -> None:
    with pytest.raises(UsageError, match="the smallest tile for it is --tile 48x64"):
        plan_tiles((100, 60), replace(RULE, limit=(40, 64), min_size=43))


def test_fixed_size_that_is_no_multiple_is_refused_unless_it_ends_with_the_frame() -> None:
    rule = TileRule(limit=(60, 64), halo_px=4, multiple=8, is_fixed=True)
    plan = plan_tiles((100, 64), rule)
    assert [rows.read for rows in plan.rows] == [(0, 60), (40, 100)]
    with pytest.raises(UsageError, match="takes 60x64 only, which is no multiple of 8"):
        plan_tiles((104, 64), rule)


def test_fixed_size_that_is_too_small_asks_for_another_export() -> None:
    with pytest.raises(UsageError, match="leaves nothing of it; export the model with --dynamic"):
        plan_tiles((100, 64), TileRule(limit=(16, 64), halo_px=8, is_fixed=True))
