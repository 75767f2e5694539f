from __future__ import annotations

import pytest

from deblurrt.training.batches import KINDS
from deblurrt.training.recipe import RECIPES, Recipe

EVERY = pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))


@EVERY
def test_rate_rises_stays_and_falls_to_nothing(recipe: Recipe) -> None:
    full = recipe.learning_rate
    assert recipe.rate_at(0, 0.0) == pytest.approx(full / recipe.warmup_steps)
    assert recipe.rate_at(recipe.warmup_steps - 1, 0.1) == pytest.approx(full)
    assert recipe.rate_at(10**6, 1 - recipe.decay_share) == pytest.approx(full)
    assert recipe.rate_at(10**6, 1 - recipe.decay_share / 2) == pytest.approx(full / 2)
    assert recipe.rate_at(10**6, 1.0) == 0.0


@EVERY
@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_shares_sum_to_one(recipe: Recipe, progress: float) -> None:
    shares = recipe.shares_at(progress)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert min(shares.values()) >= 0


@EVERY
def test_shares_go_from_the_first_to_the_last(recipe: Recipe) -> None:
    firsts = {kind: first for kind, (first, _) in recipe.shares.items()}
    lasts = {kind: last for kind, (_, last) in recipe.shares.items()}
    assert recipe.shares_at(0.0) == pytest.approx({k: v / sum(firsts.values()) for k, v in firsts.items()})
    assert recipe.shares_at(1.0) == pytest.approx({k: v / sum(lasts.values()) for k, v in lasts.items()})


@EVERY
def test_patches_grow_in_the_decay(recipe: Recipe) -> None:
    assert recipe.patches_at(0.0) == (recipe.batch, recipe.patch_px)
    assert recipe.patches_at(1.0) == (recipe.late_batch, recipe.late_patch_px)
    assert recipe.late_patch_px > recipe.patch_px


@EVERY
def test_patches_fit_the_network(recipe: Recipe) -> None:
    assert recipe.patch_px % recipe.model.multiple == 0
    assert recipe.late_patch_px % recipe.model.multiple == 0


@EVERY
def test_kinds_are_those_of_the_pool(recipe: Recipe) -> None:
    assert set(recipe.shares) <= {*KINDS, "sharp"}


def test_recipes_are_filed_under_their_names() -> None:
    assert {name: recipe.name for name, recipe in RECIPES.items()} == {name: name for name in RECIPES}
    assert {"student-s", "student-xs", "student-m"} <= set(RECIPES)
