"""How blurred pictures are made where a data set has none: JPEG, reduction, Gaussian blur, averaging.

A degradation turns the stored picture into the network's input; each is the same every time.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ContractError, SourceError
from ..core.optional import require
from ..core.pictures import read_picture
from . import opencv

Pixels = NDArray[np.uint8]

#: of the blur + JPEG track of NTIRE 2021
JPEG_QUALITY = 25
#: of the blur + super-resolution track
REDUCTION = 4
#: standard deviations of the Gaussian blur lie below this, CARLO_NET's protocol
LARGEST_SIGMA_PX = 3.0

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})


class Degradation(Protocol):
    """Makes the blurred picture of a stored one."""

    @property
    def note(self) -> str:
        """How, for reports: ``made from blur with Pillow at quality 25``."""
        ...

    def __call__(self, pixels: Pixels, name: str, /) -> Pixels:
        """Degrade ``pixels``, ``uint8 [height, width, 3]``, of the frame called ``name``; new memory."""
        ...


@dataclass(frozen=True, slots=True)
class JpegCompression:
    """Writes and reads a JPEG with Pillow's defaults (4:2:0).

    Attributes:
        quality: Pillow's scale, 1..95.
    """

    quality: int = JPEG_QUALITY

    @property
    def note(self) -> str:
        return f"made from blur with Pillow at quality {self.quality}"

    def __call__(self, pixels: Pixels, _name: str, /) -> Pixels:
        image, file = _pillow(), io.BytesIO()
        image.fromarray(pixels).save(file, "JPEG", quality=self.quality)
        return np.array(image.open(file).convert("RGB"))


@dataclass(frozen=True, slots=True)
class BicubicReduction:
    """Reduces with Pillow's bicubic filter, which does not alias.

    Attributes:
        factor: How many times smaller; both sides are multiples of it.
    """

    factor: int = REDUCTION

    @property
    def note(self) -> str:
        return f"made from blur with Pillow's antialiased bicubic filter, {self.factor} times smaller"

    def __call__(self, pixels: Pixels, name: str, /) -> Pixels:
        height, width = pixels.shape[:2]
        if height % self.factor or width % self.factor:
            raise ContractError(
                f"{name} is {height}x{width}, the {self.factor} times smaller picture needs sides that are "
                f"multiples of {self.factor}; cut the pictures to {height - height % self.factor}x"
                f"{width - width % self.factor}"
            )
        image = _pillow()
        size = (width // self.factor, height // self.factor)
        return np.array(image.fromarray(pixels).resize(size, image.Resampling.BICUBIC))


@dataclass(frozen=True, slots=True)
class GaussianBlur:
    """Blurs with a standard deviation drawn evenly from 0 to 3 pixels for each picture.

    The draw depends on the seed and the picture's name alone, so that order and selection of
    frames do not matter.

    Attributes:
        seed: Another seed draws other deviations.
    """

    seed: int = 0

    @property
    def note(self) -> str:
        return f"made from sharp with OpenCV, sigma 0 to {LARGEST_SIGMA_PX:g} px drawn by name (seed {self.seed})"

    def sigma_px(self, name: str) -> float:
        """Standard deviation for the picture called ``name``, at least 0 and below 3."""
        drawn = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()[:8]
        # 53 bits: every one of them fits a float, so that the result stays below its limit
        return LARGEST_SIGMA_PX * (int.from_bytes(drawn, "big") >> 11) / 2**53

    def __call__(self, pixels: Pixels, name: str, /) -> Pixels:
        return opencv.smooth_codes(pixels, self.sigma_px(name))


@dataclass(frozen=True, slots=True)
class FrameAverage:
    """Mean of consecutive sharp frames' grey levels, as GOPRO's ``blur`` is made (not in linear light).

    Attributes:
        others: Files of the frames averaged with the one in the middle.
    """

    others: tuple[Path, ...]

    @property
    def note(self) -> str:
        return f"made from sharp: plain mean of the grey levels of {len(self.others) + 1} consecutive frames"

    def __call__(self, pixels: Pixels, name: str, /) -> Pixels:
        total = pixels.astype(np.uint32)
        for path in self.others:
            other = read_picture(path)
            if other.shape != pixels.shape:
                raise SourceError(
                    f"{path} is {other.shape[0]}x{other.shape[1]}, {name} is {pixels.shape[0]}x{pixels.shape[1]}; "
                    "frames that are averaged need one size"
                )
            total += other
        return np.rint(total / (len(self.others) + 1)).astype(np.uint8)


def read_as_published(path: Path) -> Pixels:
    """Read a picture; a JPEG through libjpeg (Pillow), as those did whose scores are published.

    FFmpeg's smoother chroma gains 0.02 dB on blurred REDS frames of quality 25.

    Raises:
        SourceError: The file is missing, damaged or no picture.
        MissingExtraError: It is a JPEG and Pillow is not installed.
    """
    if path.suffix.lower() not in JPEG_SUFFIXES:
        return read_picture(path)
    image = _pillow()
    try:
        with image.open(path) as opened:
            return np.array(opened.convert("RGB"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} is not a readable picture ({error}); is the file whole?") from error


def _pillow() -> Any:
    return require("PIL.Image", purpose="write, read and reduce pictures as published data sets were")
