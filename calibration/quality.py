"""How much of the picture 8 bits cost: PSNR, SSIM and sharpness of edges, float against quantised."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..core.pictures import Pixels
from ..datasets.evaluation import EXACT_DB
from ..datasets.metrics import DATA_RANGE, luminance, mse, psnr, ssim
from .clips import Shot
from .graph_sessions import Restore

#: score of the float result where nobody knows the sharp picture: 30 dB
ASSUMED_MSE = 1e-3
#: share of pixels that count as edges: those of the steepest brightness
EDGE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One frame.

    Attributes:
        name: Of the frame.
        lost_db: Decibels lost; without the sharp picture, those against a float result of 30 dB.
        mse: Between float and quantised result, of values in 0..1.
        psnr_float_db: Of the float result; None without the sharp picture.
        psnr_db: Of the quantised result, likewise.
        ssim_float: Likewise.
        ssim: Likewise; without the sharp picture, between float and quantised.
        edges_float: Mean steepness of the edges of the float result, grey levels per pixel.
        edges: Of the quantised result, at the same places.
    """

    name: str
    lost_db: float
    mse: float
    psnr_float_db: float | None
    psnr_db: float | None
    ssim_float: float | None
    ssim: float
    edges_float: float
    edges: float


@dataclass(frozen=True, slots=True, eq=False)
class RestoredFrame:
    """A frame and what becomes of it.

    Attributes:
        name: Of the frame.
        pixels: As it was.
        before: Restored in float.
        after: Restored in 8 bits.
    """

    name: str
    pixels: Pixels
    before: Pixels
    after: Pixels


@dataclass(frozen=True, slots=True)
class Quality:
    """All frames.

    Attributes:
        frames: In order.
        has_truth: Whether every frame was compared with its sharp picture.
    """

    frames: tuple[FrameScore, ...]
    has_truth: bool

    @property
    def lost_db(self) -> float:
        """Mean of the decibels lost."""
        return math.fsum(frame.lost_db for frame in self.frames) / max(len(self.frames), 1)

    def mean(self, name: str) -> float | None:
        """Mean of a field over all frames; None where one does not have it."""
        values = [getattr(frame, name) for frame in self.frames]
        return None if not values or None in values else math.fsum(values) / len(values)

    @property
    def against(self) -> str:
        """What the decibels are counted against."""
        return "sharp pictures" if self.has_truth else "a float result of 30 dB"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the loss first."""
        fields = ("psnr_float_db", "psnr_db", "ssim_float", "ssim", "edges_float", "edges", "mse")
        return {
            "lost_db": self.lost_db,
            "against": self.against,
            **{name: self.mean(name) for name in fields},
            "frames": [asdict(frame) for frame in self.frames],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """Held-out frames with what the float network makes of them.

    Attributes:
        shots: Whole frames.
        restored: By the float network.
    """

    shots: tuple[Shot, ...]
    restored: tuple[Pixels, ...]

    @classmethod
    def of(cls, restore: Restore, shots: Iterable[Shot]) -> Judge:
        """Restore held-out frames in float."""
        kept = tuple(shots)
        return cls(kept, tuple(restore(shot.window) for shot in kept))

    @property
    def has_truth(self) -> bool:
        """Whether all sharp pictures are known."""
        return all(shot.sharp is not None for shot in self.shots)

    def lost_db(self, restore: Restore) -> float:
        """Mean of the decibels a quantised network loses; no more than this is computed."""
        losses = [_lost(shot, before, restore(shot.window)) for shot, before in self._pairs()]
        return math.fsum(losses) / max(len(losses), 1)

    def quality(self, restore: Restore) -> Quality:
        """Score a quantised network frame by frame."""
        scores = (_score(shot, before, restore(shot.window)) for shot, before in self._pairs())
        return Quality(tuple(scores), self.has_truth)

    def _pairs(self) -> Sequence[tuple[Shot, Pixels]]:
        return list(zip(self.shots, self.restored, strict=True))


def lost_without_truth(error: float) -> float:
    """Decibels lost against a float result of 30 dB, of the squared error between the two, values in 0..1."""
    return 10 * math.log10(1 + error / ASSUMED_MSE)


def unit_mse(first: Pixels, second: Pixels) -> float:
    """Mean squared error of values in 0..1."""
    return mse(first, second) / DATA_RANGE**2


def _lost(shot: Shot, before: Pixels, after: Pixels) -> float:
    if shot.sharp is None:
        return lost_without_truth(unit_mse(after, before))
    return min(psnr(before, shot.sharp), EXACT_DB) - min(psnr(after, shot.sharp), EXACT_DB)


def _score(shot: Shot, before: Pixels, after: Pixels) -> FrameScore:
    sharp = shot.sharp
    edges_before, edges_after = _edges(before, after)
    return FrameScore(
        name=shot.name,
        lost_db=_lost(shot, before, after),
        mse=unit_mse(after, before),
        psnr_float_db=None if sharp is None else min(psnr(before, sharp), EXACT_DB),
        psnr_db=None if sharp is None else min(psnr(after, sharp), EXACT_DB),
        ssim_float=None if sharp is None else ssim(before, sharp),
        ssim=ssim(after, before if sharp is None else sharp),
        edges_float=edges_before,
        edges=edges_after,
    )


def _edges(before: Pixels, after: Pixels) -> tuple[float, float]:
    """Mean steepness of both at the edges of the first."""
    steep, other = (np.hypot(*np.gradient(luminance(pixels))) for pixels in (before, after))
    is_edge = steep >= np.quantile(steep, 1 - EDGE_SHARE)
    return float(steep[is_edge].mean()), float(other[is_edge].mean())
