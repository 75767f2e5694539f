"""Ranges of every method against the same computed value by value, in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.calibration.histograms import Histogram
from deblurrt.calibration.thresholds import LEVELS, SHARES, range_of

Values = NDArray[np.float64]

#: distributions as networks have them, and one that is far from zero
KINDS = ("normal", "laplace", "activated", "outlier", "positive")


def drawn(kind: str, count: int = 20_000) -> Values:
    """Draw values of one distribution."""
    rng = np.random.default_rng(3)
    if kind == "laplace":
        return rng.laplace(0, 1, count)
    if kind == "positive":
        return rng.uniform(3, 9, count)
    values = rng.normal(0, 1, count)
    if kind == "activated":
        return np.maximum(values, 0)
    if kind == "outlier":
        values[0] = 30.0
    return values


def histogram_of(values: Values) -> Histogram:
    histogram = Histogram()
    histogram.add(values, float(values.min()), float(values.max()))
    return histogram


def mean_squared(values: Values, low: float, high: float, *, is_unsigned: bool) -> float:
    """Error of values in 8 bits between two ends: what a network computes with, no histogram."""
    if is_unsigned:
        step = (high - low) / 255
        zero = round(-low / step)
        levels = np.clip(np.rint(values / step) + zero, 0, 255) - zero
    else:
        step = max(-low, high) / 127
        levels = np.clip(np.rint(values / step), -127, 127)
    return float(((levels * step - values) ** 2).mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_unsigned", [False, True])
def test_least_error_is_that_of_trying_every_share_on_the_values(kind: str, is_unsigned: bool) -> None:
    values = drawn(kind)
    ends = min(values.min(), 0.0), max(values.max(), 0.0)
    found = mean_squared(
        values, *range_of(histogram_of(values), "mse", is_unsigned=is_unsigned), is_unsigned=is_unsigned
    )
    best = min(mean_squared(values, ends[0] * share, ends[1] * share, is_unsigned=is_unsigned) for share in SHARES)
    # a twentieth: values stand in the middle of their bin, and shares beside the best err hardly more
    assert best <= found <= 1.05 * best


@pytest.mark.parametrize("kind", ["normal", "laplace", "activated"])
def test_percentile_leaves_out_the_outermost_values_of_the_sorted_list(kind: str) -> None:
    values = drawn(kind, 200_000)
    histogram = histogram_of(values)
    ordered = np.sort(values)
    # 99.99 % of 200 000: ten of them at each end
    wanted = min(float(ordered[10]), 0.0), float(ordered[-11])
    width = 2.0 ** (histogram.exponent + 1) / histogram.counts.size
    assert range_of(histogram, "percentile") == pytest.approx(wanted, abs=width)


def test_whole_range_is_that_of_the_values() -> None:
    values = drawn("laplace")
    assert range_of(histogram_of(values), "minmax") == (values.min(), values.max())


def divergence(counts: list[int], length: int) -> float:
    """Kullback-Leibler divergence, bin by bin: the first bins with all beyond in the last, against 128 levels."""
    kept = counts[:length]
    reference = [float(count) for count in kept]
    reference[-1] += sum(counts[length:])
    coarse = [0.0] * length
    for level in range(LEVELS):
        members = [place for place in range(length) if place * LEVELS // length == level]
        filled = [place for place in members if kept[place]]
        for place in filled:
            coarse[place] = sum(kept[other] for other in members) / len(filled)
    total, other = sum(reference), sum(coarse)
    return sum(
        first / total * math.log((first / total) / max(second / other, 1e-10))
        for first, second in zip(reference, coarse, strict=True)
        if first > 0
    )


@pytest.mark.parametrize("kind", ["normal", "laplace", "outlier"])
def test_entropy_takes_the_length_of_least_divergence(kind: str) -> None:
    values = drawn(kind, 2000)
    # few bins of one width, so that every length can be tried by hand
    bins = 180
    histogram = Histogram()
    peak = float(np.abs(values).max())
    values = values / peak * (bins / 2048)
    histogram.exponent = 0
    histogram.add(values, float(values.min()), float(values.max()))
    width = 1 / 2048
    counts = [0] * 2048
    for value in values:
        # a bin holds its lower end, and magnitudes of negative values are counted from below
        place = math.floor(value / width)
        counts[place if place >= 0 else -1 - place] += 1
    counts[0] = counts[1]
    used = max(place for place, count in enumerate(counts) if count) + 1
    assert 128 < used <= bins + 1
    lengths = range(LEVELS, used + 1)
    best = min(lengths, key=lambda length: divergence(counts[:used], length))
    low, high = range_of(histogram, "entropy")
    limit = best * width
    assert (low, high) == pytest.approx((max(values.min(), -limit), min(values.max(), limit)))


def test_entropy_of_few_bins_is_the_whole_range() -> None:
    values = np.linspace(-1, 1, 50) * 1e-7
    assert range_of(histogram_of(values), "entropy") == (-1e-7, 1e-7)
