"""What gains most within a bound, against all subsets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from deblurrt.calibration.best_sets import STEPS, largest_within


@pytest.mark.parametrize("seed", range(6))
def test_no_subset_gains_more_within_the_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 9
    gains = [float(gain) for gain in rng.integers(1, 30, count)]
    errors = [float(error) for error in rng.exponential(1, count)]
    bound = 0.4 * sum(errors)
    chosen = largest_within(gains, errors, bound)
    assert sum(errors[place] for place in chosen) <= bound
    # errors are rounded up to steps of the bound, at most one step each
    inner = bound * (1 - count / STEPS)
    best = max(
        sum(gains[place] for place in places)
        for size in range(count + 1)
        for places in combinations(range(count), size)
        if sum(errors[place] for place in places) <= inner
    )
    assert sum(gains[place] for place in chosen) >= best


def test_what_costs_nothing_is_always_taken() -> None:
    assert largest_within([1.0, 2.0, 3.0], [0.0, 5.0, 0.0], 1.0) == [0, 2]
    assert largest_within([1.0, 2.0, 3.0], [0.0, 5.0, 0.0], 0.0) == [0, 2]


def test_everything_is_taken_where_it_fits() -> None:
    assert largest_within([1.0, 1.0], [0.5, 0.5], 1.0) == [0, 1]
