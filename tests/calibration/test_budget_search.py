"""The search for the cheapest layers to keep float, against all subsets of small networks."""

from __future__ import annotations

import time
from collections.abc import Collection
from itertools import combinations

import numpy as np
import pytest

from deblurrt.calibration.budget_search import BudgetSearch
from deblurrt.calibration.sites import Site
from deblurrt.core.errors import QualityError


def product(name: str, macs: int) -> Site:
    return Site(name, "product", "Conv", "", "value", macs, is_able=True, is_chosen=True, reason="")


def skip(name: str, partner: str) -> Site:
    return Site(
        name, "skip", "Add", "", "value", 0, is_able=True, is_chosen=True, reason="", partner=partner, values=10
    )


class Loss:
    """Decibels lost by sets whose layers lose a known number each; counts what it is asked for."""

    def __init__(self, of: dict[str, float]) -> None:
        self.of = of
        self.asked: list[frozenset[str]] = []

    def __call__(self, chosen: frozenset[str]) -> float:
        self.asked.append(chosen)
        return self.sum(chosen)

    def sum(self, chosen: Collection[str]) -> float:
        return sum(self.of[name] for name in chosen)


@pytest.mark.parametrize("seed", range(40))
def test_search_finds_what_trying_all_subsets_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"layer{index}" for index in range(8)]
    macs = dict(zip(names, (int(value) for value in rng.integers(10, 200, 8)), strict=True))
    loss = Loss(dict(zip(names, (float(value) for value in rng.exponential(0.05, 8) ** 1.5), strict=True)))
    budget = 0.5 * loss.sum(names)
    total = sum(macs.values())
    subsets = [set(chosen) for size in range(9) for chosen in combinations(names, size)]
    best = max(sum(macs[name] for name in chosen) for chosen in subsets if loss.sum(chosen) <= budget)
    search = BudgetSearch([product(name, macs[name]) for name in names], loss, total)
    if best / total < 0.5:
        with pytest.raises(QualityError):
            search.run(budget, loss.of)
        return
    found = search.run(budget, loss.of)
    assert found.lost_db <= budget
    # sets that promise less than half a percent of the products more are not tried
    assert found.share >= best / total - 0.005
    assert len(loss.asked) <= 20


def test_search_holds_the_budget_where_errors_do_not_add_up() -> None:
    names = [f"layer{index}" for index in range(6)]
    alone = dict.fromkeys(names, 0.01)

    def lost(chosen: frozenset[str]) -> float:
        # two of them together lose far more than each alone
        return 0.01 * len(chosen) + (0.5 if {"layer0", "layer1"} <= chosen else 0.0)

    search = BudgetSearch([product(name, 100) for name in names], lost, 600)
    found = search.run(0.1, alone)
    assert found.lost_db <= 0.1
    assert found.share == pytest.approx(5 / 6)


def test_every_set_is_measured_once() -> None:
    names = [f"layer{index}" for index in range(8)]
    loss = Loss({name: 0.01 * index for index, name in enumerate(names)})
    search = BudgetSearch([product(name, 100) for name in names], loss, 800)
    search.run(0.1, loss.of)
    search.run(0.1, loss.of)
    assert len(loss.asked) == len(set(loss.asked))


def test_same_search_tries_the_same_sets_in_the_same_order() -> None:
    rng = np.random.default_rng(1)
    of = {f"layer{index}": float(rng.exponential()) for index in range(9)}
    asked = []
    for _ in range(2):
        loss = Loss(of)
        BudgetSearch([product(name, 100) for name in of], loss, 900).run(0.6 * sum(of.values()), of)
        asked.append(loss.asked)
    assert asked[0] == asked[1]


def test_skip_branch_counts_only_beside_its_convolution() -> None:
    loss = Loss({"conv": 0.1, "other": 0.0, "add": 0.0})
    search = BudgetSearch([product("conv", 10), product("other", 90), skip("add", "conv")], loss, 100)
    assert search.try_set(["other", "add"]).chosen == {"other"}
    assert search.try_set(["conv", "other", "add"]).chosen == {"conv", "other", "add"}
    assert search.run(0.05, loss.of).chosen == {"other"}


def test_products_that_cannot_be_quantised_count_as_float() -> None:
    search = BudgetSearch([product("conv", 60)], lambda _chosen: 0.0, 100, ("int8", "fp16"))
    trial = search.try_set(["conv"])
    assert trial.share == 0.6
    # half of the 16 bits of six tenths
    assert trial.saving == pytest.approx(0.3)


def test_refusal_says_what_was_reached() -> None:
    loss = Loss({"small": 0.0, "large": 1.0})
    search = BudgetSearch([product("small", 30), product("large", 70)], loss, 100)
    with pytest.raises(QualityError) as caught:
        search.run(0.1, loss.of)
    assert str(caught.value) == (
        "the budget is 0.1 dB, the least lost was 1.000 dB with 100% of the products in 8 bits, within the budget only "
        "30% were, at least 50% are wanted; give a larger budget, more frames, or another --method"
    )
    assert caught.value.exit_code == 3


def test_network_with_little_to_quantise_is_refused_for_that() -> None:
    search = BudgetSearch([product("conv", 40)], lambda _chosen: 0.0, 100)
    with pytest.raises(QualityError, match="layers that can be quantised hold only 40% of the products"):
        search.run(0.1, {"conv": 0.0})


def test_time_that_is_over_ends_with_3_and_says_so() -> None:
    loss = Loss({f"layer{index}": 1.0 for index in range(4)})
    search = BudgetSearch([product(name, 25) for name in loss.of], loss, 100, deadline_s=time.perf_counter() - 1)
    with pytest.raises(QualityError, match="the time limit ended the search"):
        search.run(0.1, loss.of)
    assert search.is_cut_short
    assert loss.asked == [frozenset(loss.of)]


def test_time_that_is_over_takes_the_best_set_that_was_measured() -> None:
    loss = Loss({"first": 1.0, "second": 0.01, "third": 0.01})
    search = BudgetSearch([product(name, 30) for name in loss.of], loss, 90, deadline_s=time.perf_counter() - 1)
    default = search.try_set(["second", "third"])
    assert search.run(0.1, loss.of) == default


def test_pareto_list_marks_what_nothing_beats_in_both() -> None:
    lost = {frozenset("a"): 0.1, frozenset("b"): 0.2, frozenset("ab"): 0.4, frozenset(): 0.0}
    search = BudgetSearch([product("a", 60), product("b", 40)], lambda chosen: lost[chosen], 100)
    for chosen in lost:
        search.try_set(chosen)
    listed = [(trial.lost_db, trial.share, trial.is_best) for trial in search.pareto()]
    assert listed == [(0.0, 0.0, True), (0.1, 0.6, True), (0.2, 0.4, False), (0.4, 1.0, True)]
    assert search.pareto()[1].to_dict() == {
        "lost_db": 0.1,
        "share_8bit": 0.6,
        "estimated_saving": pytest.approx(0.45),
        "pareto": True,
        "layers": 1,
    }
