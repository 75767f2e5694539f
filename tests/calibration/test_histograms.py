"""Histograms that grow, and the ranges that are read off them."""

from __future__ import annotations

import numpy as np
import pytest

from deblurrt.calibration.histograms import BINS, Histogram, joined
from deblurrt.calibration.thresholds import METHODS, range_of


def histogram_of(*parts: np.ndarray) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part, float(part.min()), float(part.max()))
    return histogram


def test_counts_survive_every_doubling_of_the_range() -> None:
    small, large = np.full(100, 0.001), np.full(50, 1000.0)
    histogram = histogram_of(small, large)
    assert histogram.counts.sum() == 150
    assert (histogram.least, histogram.most) == (0.001, 1000.0)
    assert histogram.counts[np.abs(histogram.centres()) < 1].sum() == 100


def test_ends_are_exact_whatever_was_sampled() -> None:
    histogram = Histogram()
    histogram.add(np.array([0.5]), -3.25, 7.125)
    assert range_of(histogram, "minmax") == (-3.25, 7.125)


def test_joined_histograms_hold_the_values_of_both() -> None:
    whole = joined([histogram_of(np.full(10, -0.3)), histogram_of(np.full(20, 40.0))])
    assert (whole.least, whole.most) == (-0.3, 40.0)
    assert whole.counts[: BINS // 2].sum() == 10
    assert whole.counts[BINS // 2 :].sum() == 20


@pytest.mark.parametrize("method", ["entropy", "percentile", "mse"])
def test_a_lone_outlier_is_cut_off(method: str) -> None:
    values = np.random.default_rng(0).normal(0, 1, 200_000)
    values[0] = 40.0
    low, high = range_of(histogram_of(values), method)  # type: ignore[arg-type]
    assert 2 < high < 30
    assert -30 < low < -2


@pytest.mark.parametrize("method", METHODS)
def test_range_always_holds_zero(method: str) -> None:
    low, high = range_of(histogram_of(np.linspace(3, 9, 1000)), method)  # type: ignore[arg-type]
    assert low == 0
    assert high > 3


@pytest.mark.parametrize("method", METHODS)
def test_tensor_that_is_zero_everywhere_has_a_range(method: str) -> None:
    assert range_of(histogram_of(np.zeros(100)), method) == (0, 0)  # type: ignore[arg-type]
