"""How far a picture restored in tiles is from the same restored whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.contract import FrameContract
from ..core.tensors import Array
from .tile_plan import Size, size_text


@dataclass(frozen=True, slots=True)
class TileError:
    """A difference, in levels of 255.

    Attributes:
        largest: Largest difference.
        psnr_db: 100 where there is none.
        region: Height and width of the part of the frame it was measured on.
    """

    largest: float
    psnr_db: float
    region: Size

    def describe(self) -> str:
        """Write it the way the warning shows it."""
        where = f"measured on {size_text(self.region)} px of the first frame"
        if self.largest == 0:
            return f"no difference was found ({where})"
        return f"they differ by up to {self.largest:.3g} of 255 levels, {self.psnr_db:.1f} dB ({where})"


def tile_error(whole: Array, tiled: Array, contract: FrameContract, region: Size) -> TileError:
    """Compare two results of a network.

    Args:
        whole: What it gave in one piece, in the layout and range of ``contract``.
        tiled: The same from tiles.
        contract: Of the network.
        region: Height and width of the network's input, pixels.
    """
    gain = np.float32(255 if contract.io == "float" and contract.range == "0..1" else 1)
    levels = [np.clip(picture.astype(np.float32) * gain, 0, 255) for picture in (whole, tiled)]
    difference = np.abs(levels[0] - levels[1])
    mse = float(np.mean(np.square(difference), dtype=np.float64))
    psnr_db = 100.0 if mse == 0 else min(100.0, float(10 * np.log10(255**2 / mse)))
    return TileError(float(difference.max()), psnr_db, region)
