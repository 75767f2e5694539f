"""Random patches from the pool, as the network sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import ContractError, InputError

Crops = NDArray[np.uint8]
KINDS = ("real", "averaged", "field", "camera", "straight")
MIRRORED_SHARE = 0.5


class CropPool:
    """The crops of a pool folder, mapped from disk and cut at random.

    Args:
        folder: What ``build_pool`` wrote.
        seed: Start of every choice.

    Raises:
        InputError: The folder holds no crops.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        paths = {kind: folder / f"{kind}.npy" for kind in KINDS}
        mapped = {kind: np.load(path, mmap_mode="r") for kind, path in paths.items() if path.is_file()}
        self._crops: dict[str, Crops] = {kind: crops for kind, crops in mapped.items() if len(crops)}
        if not self._crops:
            raise InputError(f"no training crops in {folder}; let deblurrt train make them from --data")
        self._seed = seed
        self._rng = np.random.default_rng(seed)

    def restart(self, step: int) -> None:
        """Draw as a run resumed at ``step`` does: not the patches of its beginning once more."""
        self._rng = np.random.default_rng([self._seed, step])

    def batch(self, count: int, side_px: int, shares: dict[str, float]) -> tuple[Tensor, Tensor, list[str]]:
        """Cut ``count`` patches, turned, mirrored and with permuted colours.

        Returns:
            Blurred and sharp, ``float32 [count, 3, side_px, side_px]`` in 0..1, and each one's kind.

        Raises:
            ContractError: The patches would be larger than the crops.
        """
        usable = {kind: share for kind, share in shares.items() if kind in self._crops or kind == "sharp"}
        weights = np.array(list(usable.values()))
        kinds = [str(kind) for kind in self._rng.choice(list(usable), count, p=weights / weights.sum())]
        patches = [self._patch(kind, side_px) for kind in kinds]
        sharp, blurred = (_tensor(np.stack([patch[index] for patch in patches])) for index in (0, 1))
        return blurred, sharp, kinds

    def _patch(self, kind: str, side: int) -> Crops:
        rng = self._rng
        source = self._crops[kind] if kind != "sharp" else self._crops[str(rng.choice(list(self._crops)))]
        if side > source.shape[2]:
            raise ContractError(f"patches of {side} px do not fit crops of {source.shape[2]} px; make larger crops")
        row, column = rng.integers(0, source.shape[2] - side + 1, 2)
        patch = source[rng.integers(len(source)), :, row : row + side, column : column + side]
        if kind == "sharp":
            patch = patch[[0, 0]]
        patch = np.rot90(patch, int(rng.integers(4)), axes=(1, 2))
        if rng.random() < MIRRORED_SHARE:
            patch = patch[:, :, ::-1]
        return np.ascontiguousarray(patch[..., rng.permutation(3)])


def _tensor(pixels: Crops) -> Tensor:
    """``uint8 [count, height, width, 3]`` to a channels-last ``float32 [count, 3, height, width]``."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
