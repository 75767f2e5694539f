"""Where the range of a tensor is cut off: smallest to largest value, a percentile, least error, least divergence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .histograms import Histogram

Method = Literal["minmax", "entropy", "percentile", "mse"]
#: least and largest value that are kept apart from one another; all beyond is cut off
Range = tuple[float, float]

#: share of values that are not cut off; the 10 000th part of a 720p map is a patch of 9x10 pixels
PERCENTILE = 99.99
#: ranges that are tried for the least error, as shares of the whole range
SHARES = np.linspace(0.2, 1.0, 81)
#: levels of a symmetric INT8 magnitude
LEVELS = 128


def _minmax(histogram: Histogram, _is_unsigned: bool) -> Range:
    return histogram.least, histogram.most


def _percentile(histogram: Histogram, _is_unsigned: bool) -> Range:
    rest = (100 - PERCENTILE) / 100
    total = int(histogram.counts.sum())
    passed = np.cumsum(histogram.counts)
    low = int(np.searchsorted(passed, total * rest / 2, side="right"))
    high = int(np.searchsorted(passed, total * (1 - rest / 2)))
    centres = histogram.centres()
    return max(histogram.least, float(centres[low])), min(histogram.most, float(centres[min(high, centres.size - 1)]))


def _mse(histogram: Histogram, is_unsigned: bool) -> Range:
    """Take the share of the range for which rounding and cutting off together err least."""
    centres, counts = histogram.centres(), histogram.counts.astype(np.float64)
    least, most = min(histogram.least, 0.0), max(histogram.most, 0.0)
    errors = []
    for share in SHARES:
        low, high = share * least, share * most
        span = high - low if is_unsigned else 2 * max(abs(low), abs(high))
        step = span / (255 if is_unsigned else 254)
        kept_low, kept_high = (low, high) if is_unsigned else (-span / 2, span / 2)
        # a bin is narrower than a step, but for the smallest unsigned ranges, so its middle stands for all its values
        difference = centres - np.clip(np.round(centres / step) * step, kept_low, kept_high) if step else centres
        errors.append(float((counts * difference * difference).sum()))
    best = float(SHARES[int(np.argmin(errors))])
    return best * least, best * most


def _entropy(histogram: Histogram, _is_unsigned: bool) -> Range:
    """Take the range whose 128 levels tell most of the distribution, as TensorRT's entropy calibrator did."""
    counts, width = histogram.magnitudes()
    # zeros behind an activation are exact at every scale; counted, they would have all else cut off
    counts[0] = counts[1]
    used = int(np.flatnonzero(counts).max(initial=0)) + 1
    if used <= LEVELS:
        return histogram.least, histogram.most
    lengths = range(LEVELS, used + 1, max(1, (used - LEVELS) // 256))
    best = min(lengths, key=lambda length: _divergence(counts.astype(np.float64), length))
    limit = best * width
    return max(histogram.least, -limit), min(histogram.most, limit)


def _divergence(counts: NDArray[np.float64], length: int) -> float:
    """Kullback-Leibler divergence of the first ``length`` bins from what 128 levels leave of them."""
    kept = counts[:length].copy()
    reference = kept.copy()
    reference[-1] += counts[length:].sum()
    groups = np.arange(length) * LEVELS // length
    filled = kept > 0
    sums = np.bincount(groups, kept, LEVELS)
    members = np.bincount(groups, filled, LEVELS)
    spread = np.where(filled, (sums / np.maximum(members, 1))[groups], 0.0)
    total, coarse = reference.sum(), spread.sum()
    if not total or not coarse:
        return float("inf")
    first, second = reference / total, spread / coarse
    told = first > 0
    return float((first[told] * np.log(first[told] / np.maximum(second[told], 1e-10))).sum())


METHODS: Mapping[Method, Callable[[Histogram, bool], Range]] = {
    "minmax": _minmax,
    "entropy": _entropy,
    "percentile": _percentile,
    "mse": _mse,
}


def range_of(histogram: Histogram, method: Method, *, is_unsigned: bool = False) -> Range:
    """Decide what values of a tensor are told apart.

    Args:
        histogram: What was seen of it.
        method: How.
        is_unsigned: Whether the 256 levels lie between the two ends, instead of evenly around zero.

    Returns:
        Least and largest value, zero between them.
    """
    low, high = METHODS[method](histogram, is_unsigned)
    return min(low, 0.0), max(high, 0.0)
