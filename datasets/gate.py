"""The quality gate: has a sequence really been deblurred, or only raised in PSNR or contrast?

PSNR alone waves through pictures nobody would call sharper, and sharpness alone rewards halos. So
a sequence must also beat what plain linear sharpening can do, agree better with the truth at the
frequencies that blur removes, and invent nothing. Frames are ``uint8 [height, width, 3]`` RGB.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..core.errors import ContractError
from . import opencv
from .metrics import psnr

Pixels = NDArray[np.uint8]
Grey = NDArray[np.float64]
#: blurred, restored, sharp
Frame = tuple[Pixels, Pixels, Pixels]

#: unsharp masks to beat: sigma in pixels, amount
UNSHARP_MASKS = ((1.5, 0.5), (2.0, 1.0))
UNSHARP_MARGIN_DB = 0.3
#: side of the linear filter fitted to each frame with its truth
ORACLE_PX = 15
#: keeps the fit solvable on flat pictures, relative to the energy of the picture
ORACLE_RIDGE = 1e-7

WINDOW_PX = 64
#: bands of spatial frequency, cycles per pixel
BANDS = ((0.02, 0.06), (0.06, 0.12), (0.12, 0.20), (0.20, 0.35))
#: least change of coherence with the truth per band; None: reported, not judged. Fitting a linear
#: filter moves coherence by up to 0.04 where it undoes a shift, hence the 0.03
COHERENCE_RISES = (0.03, 0.03, -0.01, None)

OVERSHOOT_PX = 9
OVERSHOOT_LEVELS = 8
LARGEST_OVERSHOOT = 0.03
LARGEST_SHARPNESS = 1.1

#: luma of ITU-R BT.601
GREY_WEIGHTS = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class Criterion:
    """One demand of the gate.

    Attributes:
        name: What is measured.
        measured: The sequence's value.
        limit: What it is held against.
        is_floor: Whether ``limit`` is the smallest allowed value, not the largest.
        is_strict: Whether reaching exactly ``limit`` is not enough.
    """

    name: str
    measured: float
    limit: float
    is_floor: bool = True
    is_strict: bool = False

    @property
    def passed(self) -> bool:
        """Whether the sequence meets the demand."""
        if self.measured == self.limit:
            return not self.is_strict
        return self.measured > self.limit if self.is_floor else self.measured < self.limit


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate measured on one sequence; decibels are gains over the blurred input.

    Attributes:
        name: The sequence.
        target_db: Mean gain demanded.
        gains_db: Gain of the restored picture, per frame.
        unsharp_db: Mean gain of each of ``UNSHARP_MASKS``.
        oracle_db: Mean gain of the best linear filter of each frame.
        coherence_input: Coherence of the input with the truth, 0..1, per band of ``BANDS``.
        coherence: The same of the restored picture.
        sharpness_input: Variance of the input's Laplacian relative to the truth's.
        sharpness: The same of the restored picture.
        overshoot: Share of values outside what surrounds them in the input.
    """

    name: str
    target_db: float
    gains_db: tuple[float, ...]
    unsharp_db: tuple[float, ...]
    oracle_db: float
    coherence_input: tuple[float, ...]
    coherence: tuple[float, ...]
    sharpness_input: float
    sharpness: float
    overshoot: float

    @property
    def gain_db(self) -> float:
        """Mean gain over the frames."""
        return math.fsum(self.gains_db) / len(self.gains_db)

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """Every demand with its outcome."""
        rises = [
            Criterion(f"coherence rise {low:.2f}-{high:.2f} c/px", after - before, least)
            for (low, high), before, after, least in zip(
                BANDS, self.coherence_input, self.coherence, COHERENCE_RISES, strict=True
            )
            if least is not None
        ]
        return (
            Criterion("smallest gain of a frame, dB", min(self.gains_db), 0.0, is_strict=True),
            Criterion("mean gain, dB", self.gain_db, self.target_db),
            Criterion("gain against unsharp masks, dB", self.gain_db, max(self.unsharp_db) + UNSHARP_MARGIN_DB),
            Criterion("gain against the best linear filter, dB", self.gain_db, self.oracle_db),
            *rises,
            Criterion("overshoot", self.overshoot, LARGEST_OVERSHOOT, is_floor=False),
            Criterion("sharpness against truth", self.sharpness, LARGEST_SHARPNESS, is_floor=False),
        )

    @property
    def passed(self) -> bool:
        """Whether every demand is met."""
        return all(criterion.passed for criterion in self.criteria)

    def to_dict(self) -> dict[str, Any]:
        """Turn into plain values for JSON, outcomes included."""
        criteria = [asdict(criterion) | {"passed": criterion.passed} for criterion in self.criteria]
        return asdict(self) | {"gain_db": self.gain_db, "passed": self.passed, "criteria": criteria}


def judge_sequence(name: str, frames: Iterable[Frame], target_db: float) -> GateReport:
    """Measure a restored sequence against its truth; about 1 s per 720p frame.

    Args:
        name: The sequence, for the report.
        frames: Blurred, restored and sharp picture of each frame.
        target_db: Mean gain over the input that is demanded.

    Raises:
        ContractError: There are no frames, their sizes differ or are below 64x64, or an input
            equals its truth, so that nothing could be gained.
    """
    measured = [_measure(name, index, frame) for index, frame in enumerate(frames)]
    if not measured:
        raise ContractError(f"sequence {name!r} has no frames to judge")
    laplacian = np.sum([frame.laplacian for frame in measured], axis=0)
    coherence = np.mean([frame.coherence for frame in measured], axis=0)
    truth = max(float(laplacian[2]), 1e-12)
    return GateReport(
        name=name,
        target_db=target_db,
        gains_db=tuple(frame.gain_db for frame in measured),
        unsharp_db=tuple(np.mean([frame.unsharp_db for frame in measured], axis=0).tolist()),
        oracle_db=float(np.mean([frame.oracle_db for frame in measured])),
        coherence_input=tuple(coherence[0].tolist()),
        coherence=tuple(coherence[1].tolist()),
        sharpness_input=float(laplacian[0]) / truth,
        sharpness=float(laplacian[1]) / truth,
        overshoot=float(np.mean([frame.overshoot for frame in measured])),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """One frame's values; rows of ``coherence`` are input and restored, ``laplacian`` has the truth third."""

    gain_db: float
    unsharp_db: list[float]
    oracle_db: float
    coherence: Grey
    laplacian: Grey
    overshoot: float


def _measure(name: str, index: int, frame: Frame) -> _Measured:
    blurred, restored, sharp = frame
    before = psnr(blurred, sharp)
    if math.isinf(before):
        raise ContractError(f"frame {index} of {name!r} equals its truth before restoring; judge blurred frames")
    if min(sharp.shape[:2]) < WINDOW_PX:
        raise ContractError(
            f"frame {index} of {name!r} is {sharp.shape[0]}x{sharp.shape[1]}, "
            f"the gate needs at least {WINDOW_PX}x{WINDOW_PX} pixels"
        )
    gain_db = psnr(restored, sharp) - before
    greys = [pixels @ np.array(GREY_WEIGHTS) for pixels in frame]
    spectra = [_spectra(grey) for grey in greys]
    return _Measured(
        gain_db=gain_db,
        unsharp_db=[psnr(unsharp(blurred, *mask), sharp) - before for mask in UNSHARP_MASKS],
        oracle_db=psnr(best_linear(blurred, sharp), sharp) - before,
        coherence=np.array([_band_coherence(spectrum, spectra[2]) for spectrum in spectra[:2]]),
        laplacian=np.array([_laplacian_variance(grey) for grey in greys]),
        overshoot=overshoot(blurred, restored),
    )


def unsharp(pixels: Pixels, sigma_px: float, amount: float) -> Pixels:
    """Add ``amount`` of the difference to the Gaussian-smoothed picture: plain sharpening."""
    values = pixels.astype(np.float32)
    sharpened = values + np.float32(amount) * (values - opencv.smooth(values, sigma_px))
    return _rounded(sharpened)


def best_linear(blurred: Pixels, sharp: Pixels) -> Pixels:
    """Restore with the best 15x15 filter there is for this very frame, fitted with its truth.

    One kernel serves all three channels, each of which also gets the mean of its truth. The kernel
    minimises the squared error over the whole frame but its edges, which fade out.
    """
    source, truth = blurred.astype(np.float64), sharp.astype(np.float64)
    source -= source.mean(axis=(0, 1))
    mean = truth.mean(axis=(0, 1))
    kernel = _fitted_kernel(source, truth - mean).astype(np.float32)
    return _rounded(opencv.filter_with(source.astype(np.float32), kernel) + mean.astype(np.float32))


def _fitted_kernel(source: Grey, truth: Grey) -> Grey:
    """Solve the normal equations; their coefficients are correlations, taken from spectra."""
    height, width = source.shape[:2]
    fade = (_fade(height)[:, None] * _fade(width))[..., None]
    spectrum, wanted = (np.fft.rfft2(values * fade, axes=(0, 1)) for values in (source, truth))
    with_itself = np.fft.irfft2((np.abs(spectrum) ** 2).sum(axis=2), s=(height, width))
    with_truth = np.fft.irfft2((spectrum.conj() * wanted).sum(axis=2), s=(height, width))
    reach = np.arange(ORACLE_PX) - ORACLE_PX // 2
    rows, columns = np.repeat(reach, ORACLE_PX), np.tile(reach, ORACLE_PX)
    gram = with_itself[rows[:, None] - rows, columns[:, None] - columns]
    gram += np.eye(ORACLE_PX**2) * (ORACLE_RIDGE * max(with_itself[0, 0], 1.0))
    return np.linalg.solve(gram, with_truth[-rows, -columns]).reshape(ORACLE_PX, ORACLE_PX)


def _fade(length: int) -> Grey:
    """Rise from 0 to 1 within two kernels' width of either end, so that opposite edges do not mix."""
    inward = np.minimum(np.arange(length), np.arange(length)[::-1])
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.minimum(inward / (2 * ORACLE_PX), 1.0)), np.float64)


def _rounded(values: NDArray[np.float32]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def overshoot(blurred: Pixels, restored: Pixels) -> float:
    """Share of RGB values more than 8 levels outside the input's 9x9 surroundings: halos, 0..1."""
    lowest, highest = opencv.local_range(blurred, OVERSHOOT_PX)
    values, slack = restored.astype(np.int16), np.int16(OVERSHOOT_LEVELS)
    return float(np.mean((values > highest + slack) | (values < lowest - slack)))


def _laplacian_variance(grey: Grey) -> float:
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(np.var(around - 4 * grey[1:-1, 1:-1]))


def coherence(restored: Pixels, sharp: Pixels) -> tuple[float, ...]:
    """Magnitude-squared coherence of the grey pictures per band of ``BANDS``, 0..1.

    Spectra of half-overlapping 64x64 Hann windows are averaged over the picture, then coherence
    over the band's frequencies. A filter that is the same everywhere cannot change it.
    """
    weights = np.array(GREY_WEIGHTS)
    return tuple(_band_coherence(_spectra(restored @ weights), _spectra(sharp @ weights)).tolist())


def _spectra(grey: Grey) -> NDArray[np.complexfloating]:
    """Fourier transforms of all windows, ``complex64 [window, row, column]``."""
    half = WINDOW_PX // 2
    windows = sliding_window_view(grey.astype(np.float32), (WINDOW_PX, WINDOW_PX))[::half, ::half]
    windows = windows.reshape(-1, WINDOW_PX, WINDOW_PX)
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_PX) / WINDOW_PX)).astype(np.float32)
    tapered = (windows - windows.mean(axis=(1, 2), keepdims=True)) * (hann[:, None] * hann)
    return np.asarray(np.fft.rfft2(tapered), np.complex64)


def _band_coherence(first: NDArray[np.complexfloating], second: NDArray[np.complexfloating]) -> Grey:
    cross = np.abs((first * second.conj()).sum(axis=0)) ** 2
    power = (np.abs(first) ** 2).sum(axis=0) * (np.abs(second) ** 2).sum(axis=0)
    both = cross / np.maximum(power, np.finfo(np.float32).tiny)
    radius = np.hypot(np.fft.fftfreq(WINDOW_PX)[:, None], np.fft.rfftfreq(WINDOW_PX))
    return np.array([both[(radius >= low) & (radius < high)].mean() for low, high in BANDS])
