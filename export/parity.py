"""How close two forms of one network are, and the pictures they are compared on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.contract import FrameContract
from ..core.errors import ContractError, QualityError, SourceError
from ..core.pictures import Pixels
from ..core.tensors import Array
from ..datasets.evaluation import EXACT_DB
from ..datasets.metrics import WINDOW_PX, ssim
from ..runtime.session import prepare
from ..runtime.sources import open_source

#: runs one form of a network on what ``prepare`` makes of pictures
Run = Callable[[Array], Array]
#: consecutive pictures of one size: one, or previous, current and next
Window = tuple[Pixels, ...]

BYTE_PEAK, UNIT_PEAK = 255.0, 1.0
#: share of rounded values that another order of sums may push across x.5
TIE_SHARE = 1e-3
#: rows and columns the scene of sample pictures moves by per frame, pixels: it has to blur, for the shipped
#: networks leave a sharp scene alone (78 dB between input and output) and work on this one (32 to 35 dB)
MOTION_PX = (3.0, -4.5)
#: a corner of this part of each side is black, and one is white
FLAT_SHARE = 6
#: positions that are averaged while the shutter is open
EXPOSURE_STEPS = 9


@dataclass(frozen=True, slots=True)
class Parity:
    """How far one array is from another; values that are not finite are counted and left out of the rest.

    Attributes:
        psnr_db: Peak signal-to-noise ratio, at most 100, which is also what equal arrays have; 0
            where no value is finite.
        ssim: Structural similarity of the pictures in 8 bits; None: no pictures of 11x11 or more.
        max_abs: Largest difference, in units of the arrays (grey levels for bytes).
        mean_abs: Mean difference.
        largest: Largest magnitude in the reference.
        non_finite: How many places hold infinity or no number in either array.
        size: Height and width, pixels.
        is_rounded: Whether the values are whole numbers.
    """

    psnr_db: float
    ssim: float | None
    max_abs: float
    mean_abs: float
    largest: float
    non_finite: int
    size: tuple[int, ...]
    is_rounded: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the PSNR first; None for what is infinite."""
        differences = {name: getattr(self, name) for name in ("max_abs", "mean_abs")}
        told = {name: value if math.isfinite(value) else None for name, value in differences.items()}
        return {**asdict(self), **told, "size": list(self.size)}


@dataclass(frozen=True, slots=True)
class ParityGate:
    """What a stage must reach; a value that is not finite never passes.

    Attributes:
        max_abs_relative: Largest difference over the reference's largest magnitude (over 1 where
            that is smaller); rounded values may also be one off, on 0.1 % of them. None: not judged.
        psnr_min_db: Least PSNR. None: not judged.
    """

    max_abs_relative: float | None = None
    psnr_min_db: float | None = None

    def failure(self, parity: Parity) -> str | None:
        """Say what misses the gate, got and wanted; None where it passes."""
        if parity.non_finite:
            return f"{parity.non_finite} values are not finite, wanted none"
        if self.psnr_min_db is not None and parity.psnr_db < self.psnr_min_db:
            return f"PSNR is {parity.psnr_db:.2f} dB, wanted at least {self.psnr_min_db:g}"
        if self.max_abs_relative is None:
            return None
        if parity.is_rounded and parity.max_abs <= 1 and parity.mean_abs <= TIE_SHARE:
            return None
        allowed = self.max_abs_relative * max(1.0, parity.largest)
        if parity.max_abs <= allowed:
            return None
        return f"the largest difference is {parity.max_abs:.3g}, wanted at most {allowed:.3g}"


#: sums in another order moved small networks of the zoo by 3e-7 to 1.4e-6 with values near one
FP32_GATE = ParityGate(max_abs_relative=1e-4)
#: a quarter of a grey level RMS; rounding only the picture to half precision leaves 79 dB, the rest is for sums inside
FP16_GATE = ParityGate(psnr_min_db=60.0)
#: two grey levels RMS; bfloat16 keeps 8 bits of the picture itself
BF16_GATE = ParityGate(psnr_min_db=42.0)


@dataclass(frozen=True, slots=True)
class StageParity:
    """One stage of an export, compared at several sizes.

    Attributes:
        name: Such as ``pytorch->onnx``.
        gate: What every size must reach.
        results: One per picture.
    """

    name: str
    gate: ParityGate
    results: tuple[Parity, ...]

    @property
    def is_passed(self) -> bool:
        """Whether every size passes."""
        return all(self.gate.failure(parity) is None for parity in self.results)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        sizes = [parity.to_dict() for parity in self.results]
        return {"stage": self.name, "passed": self.is_passed, "gate": asdict(self.gate), "sizes": sizes}


def compare_arrays(reference: Array, other: Array, peak: float | None = None) -> Parity:
    """Measure how far ``other`` is from ``reference``.

    Args:
        reference: ``uint8 [..., height, width, 3]`` or floats ``[..., channel, height, width]``.
        other: The same shape; any float type will do for floats.
        peak: What white is; 255 for bytes and 1 for floats where not given.

    Raises:
        ContractError: The shapes differ, or one is bytes and the other is not.
    """
    is_rounded = reference.dtype == np.uint8
    if reference.shape != other.shape or is_rounded != (other.dtype == np.uint8) or not reference.size:
        raise ContractError(
            f"the arrays are {reference.dtype}{list(reference.shape)} and {other.dtype}{list(other.shape)}; "
            "compare arrays of one shape, both bytes or both floats"
        )
    peak = peak or (BYTE_PEAK if is_rounded else UNIT_PEAK)
    expected, got = reference.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(expected) & np.isfinite(got)
    difference = np.abs(expected[finite] - got[finite])
    is_any = bool(difference.size)
    return Parity(
        psnr_db=_decibels(difference, peak),
        ssim=_mean_ssim(_pictures(reference, peak), _pictures(other, peak)),
        max_abs=float(difference.max()) if is_any else math.inf,
        mean_abs=float(difference.mean()) if is_any else math.inf,
        largest=float(np.abs(expected[finite]).max()) if is_any else 0.0,
        non_finite=int(np.count_nonzero(~finite)),
        size=reference.shape[-3:-1] if is_rounded else reference.shape[-2:],
        is_rounded=is_rounded,
    )


def compare_stage(
    name: str,
    run_reference: Run,
    run_other: Run,
    frames: Iterable[Array],
    gate: ParityGate = FP32_GATE,
    peak: float | None = None,
) -> StageParity:
    """Run two forms of a network on the same frames and compare what they give.

    Args:
        name: Of the stage, for reports.
        run_reference: The form before the stage; its result may be overwritten by its next call.
        run_other: The form after it.
        frames: As ``sample_frames`` makes them.
        gate: Kept with the result; nothing is raised here, see ``judge``.
        peak: What white is in float results; as for ``compare_arrays``.
    """
    results = (compare_arrays(np.array(run_reference(array)), run_other(array), peak) for array in frames)
    return StageParity(name, gate, tuple(results))


def judge(stage: StageParity) -> None:
    """Refuse a stage that misses its gate.

    Raises:
        QualityError: With the stage, the first size that fails, what it got and what was wanted.
    """
    for parity in stage.results:
        failure = stage.gate.failure(parity)
        if failure is not None:
            size = "x".join(map(str, parity.size))
            raise QualityError(f"{stage.name} changes the result at {size}: {failure}")


def parity_report(stages: Sequence[StageParity]) -> dict[str, Any]:
    """Gather stages for JSON."""
    return {"passed": all(stage.is_passed for stage in stages), "stages": [stage.to_dict() for stage in stages]}


def sample_frames(contract: FrameContract, sizes: Iterable[tuple[int, int]], seed: int = 0) -> list[Array]:
    """Make network inputs of motion-blurred pictures with edges and texture; one seed gives one set.

    Args:
        contract: Decides type, layout, range, window and padding.
        sizes: Height and width of each picture before it is padded.
        seed: Of the scenes.
    """
    return [prepare(list(window), contract) for window in sample_windows(contract.window, sizes, seed)]


def sample_windows(frames: int, sizes: Iterable[tuple[int, int]], seed: int = 0) -> list[Window]:
    """Make windows of ``frames`` pictures of a scene blurred by its motion, ``uint8 [height, width, 3]``."""
    return [
        tuple(_scene(size, np.random.default_rng([seed, index]), frame) for frame in range(frames))
        for index, size in enumerate(sizes)
    ]


def _scene(size: tuple[int, int], rng: np.random.Generator, frame: int) -> Pixels:
    """Draw shading, edges, texture and a little noise, which move while frame ``frame`` is exposed; flat corners."""
    picture = np.full((*size, 3), 0.5)
    for strength, periods_px, is_hard in ((0.2, (60, 200), False), (0.12, (15, 50), True), (0.06, (3, 8), False)):
        for channel in range(3):
            period, angle, phase = rng.uniform(*periods_px), rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
            for time in frame + np.linspace(-0.5, 0.5, EXPOSURE_STEPS):
                rows, columns = (np.arange(side) + time * step for side, step in zip(size, MOTION_PX, strict=True))
                along = rows[:, None] * np.sin(angle) + columns * np.cos(angle)
                wave = np.sin(2 * np.pi * along / period + phase)
                picture[..., channel] += strength / EXPOSURE_STEPS * (np.sign(wave) if is_hard else wave)
    noise = np.random.default_rng([int(rng.integers(1 << 32)), frame]).normal(0, 0.01, picture.shape)
    pixels = _bytes(picture + noise, UNIT_PEAK)
    tall, wide = (side // FLAT_SHARE for side in size)
    # where a network divides by what it sees, black has it divide by its guard alone
    pixels[:tall, :wide], pixels[:tall, size[1] - wide :] = 0, 255
    return pixels


def read_windows(path: Path, frames: int, count: int) -> Iterator[Window]:
    """Read windows around the first ``count`` frames of a video, a picture or a folder of pictures.

    Before the first frame, after the last, and where the size changes, a frame is its own neighbour.

    Raises:
        SourceError: Nothing there can be read.
    """
    with closing(open_source(path)) as source:
        read = [frame.pixels for frame in itertools.islice(source, count + (frames > 1))]
    if not read:
        raise SourceError(f"no frame in {path}; is the file whole?")
    for index, pixels in enumerate(read[:count]):
        around = (read[max(index - 1, 0)], pixels, read[min(index + 1, len(read) - 1)])
        yield tuple(near if near.shape == pixels.shape else pixels for near in around) if frames > 1 else (pixels,)


def middle_of(window: Window, most: tuple[int, int]) -> Window:
    """Cut the middle out of pictures higher or wider than ``most``; views."""
    top, left = (max(side - limit, 0) // 2 for side, limit in zip(window[0].shape, most, strict=False))
    return tuple(pixels[top : top + most[0], left : left + most[1]] for pixels in window)


def _decibels(difference: NDArray[np.float64], peak: float) -> float:
    if not difference.size:
        return 0.0
    squared_error = float(np.mean(difference * difference)) / peak**2
    return min(EXACT_DB, -10 * math.log10(squared_error)) if squared_error else EXACT_DB


def _pictures(array: Array, peak: float) -> list[Pixels]:
    """Round to pictures; none where the array holds no RGB pictures large enough for SSIM."""
    if array.ndim < 3:
        return []
    if array.dtype != np.uint8:
        array = _bytes(np.moveaxis(array.astype(np.float64), -3, -1), peak)
    if array.shape[-1] != 3 or min(array.shape[-3:-1]) < WINDOW_PX:
        return []
    return list(array.reshape(-1, *array.shape[-3:]))


def _mean_ssim(reference: list[Pixels], other: list[Pixels]) -> float | None:
    if not reference:
        return None
    return math.fsum(ssim(got, expected) for expected, got in zip(reference, other, strict=True)) / len(reference)


def _bytes(picture: NDArray[np.float64], peak: float) -> Pixels:
    limited = np.clip(np.nan_to_num(picture, nan=0.0) / peak, 0, 1)
    return np.rint(limited * BYTE_PEAK).astype(np.uint8)
