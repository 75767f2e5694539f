"""What is remembered of a tensor's values: a histogram that grows with them, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..core.tensors import Array

Counts = NDArray[np.int64]

#: bins over ``-reach`` to ``reach``; half of them are left when the range doubles
BINS = 4096
#: reach a histogram begins with, as power of two
LEAST_EXPONENT = -20


@dataclass(slots=True)
class Histogram:
    """Values of one tensor.

    Attributes:
        counts: How many values fell into each bin; ``BINS`` bins over ``-2**exponent`` to ``2**exponent``.
        exponent: Of the range, a power of two so that bins merge without splitting one.
        least: Smallest value there was, exactly.
        most: Largest value, likewise.
        channel_sums: Sum over frames of the mean of each channel; empty where the tensor has no channels.
        channel_peaks: Largest magnitude of each channel, likewise.
        frames: Frames that were seen.
    """

    counts: Counts = field(default_factory=lambda: np.zeros(BINS, np.int64))
    exponent: int = LEAST_EXPONENT
    least: float = 0.0
    most: float = 0.0
    channel_sums: Array = field(default_factory=lambda: np.zeros(0))
    channel_peaks: Array = field(default_factory=lambda: np.zeros(0))
    frames: int = 0

    @property
    def peak(self) -> float:
        """Largest magnitude."""
        return max(abs(self.least), abs(self.most))

    @property
    def channel_means(self) -> Array:
        """Mean of each channel over all frames."""
        means: Array = self.channel_sums / max(self.frames, 1)
        return means

    def add(self, sample: Array, least: float, most: float) -> None:
        """Add a sample of one frame's values, and what all its values lie between."""
        self.least = least if not self.frames else min(self.least, least)
        self.most = most if not self.frames else max(self.most, most)
        self.frames += 1
        self._reach(self.peak)
        reach = 2.0**self.exponent
        places = (sample.reshape(-1).astype(np.float64) + reach) * (BINS / (2 * reach))
        self.counts += np.bincount(np.clip(places.astype(np.int64), 0, BINS - 1), minlength=BINS)

    def add_channels(self, means: Array, peaks: Array) -> None:
        """Add mean and largest magnitude of each channel of one frame."""
        if not self.channel_sums.size:
            self.channel_sums, self.channel_peaks = np.zeros(means.size), np.zeros(means.size)
        self.channel_sums += means.reshape(-1)
        self.channel_peaks = np.maximum(self.channel_peaks, peaks.reshape(-1))

    def _reach(self, peak: float) -> None:
        """Double the range until a value fits: two bins become one, zero stays in the middle."""
        while peak > 2.0**self.exponent:
            inner = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[BINS // 4 : 3 * BINS // 4] = inner
            self.exponent += 1

    def centres(self) -> Array:
        """Value in the middle of each bin."""
        reach = 2.0**self.exponent
        centres: Array = (np.arange(BINS) + 0.5) * (2 * reach / BINS) - reach
        return centres

    def magnitudes(self) -> tuple[Counts, float]:
        """Histogram of magnitudes from zero up, and the width of its bins."""
        half = BINS // 2
        return self.counts[half:] + self.counts[:half][::-1], 2.0**self.exponent / half


def joined(histograms: list[Histogram]) -> Histogram:
    """What tensors that share one scale have together; channels are left out."""
    exponent = max(histogram.exponent for histogram in histograms)
    whole = Histogram(exponent=exponent, frames=max(histogram.frames for histogram in histograms))
    for histogram in histograms:
        step = 1 << (exponent - histogram.exponent)
        # a bin of the wider histogram holds ``step`` bins of the narrower one, around the middle
        wide = np.zeros(BINS, np.int64)
        places = (np.arange(BINS) - BINS // 2) // step + BINS // 2
        np.add.at(wide, places, histogram.counts)
        whole.counts += wide
    whole.least = min(histogram.least for histogram in histograms)
    whole.most = max(histogram.most for histogram in histograms)
    return whole
