"""Scoring a network on pairs: per frame, per sequence and in total."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ContractError
from .metrics import mse, psnr, psnr_y, ssim, ssim_y
from .pairs import Pair, PairSequence
from .resizing import enlarge_bicubic

Pixels = NDArray[np.uint8]
#: restores a picture, given the one before and the one after it (None where there is none), and writes into none
Restore = Callable[[Pixels, Pixels | None, Pixels | None], Pixels]

#: what an exact picture counts as in means, where its PSNR would be infinite
EXACT_DB = 100.0


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one frame, or means over frames, on 8-bit RGB; an exact picture counts as 100 dB.

    Attributes:
        psnr_db: Of the restored picture.
        ssim: Of the restored picture.
        mse: Of the restored picture, squared grey levels.
        psnr_input_db: Of the blurred picture, enlarged bicubically where the truth is larger.
        psnr_y_db: Of the restored picture's luminance; None: not measured.
        ssim_y: The same.
        lpips: Perceptual distance of the restored picture, 0 for equal ones; None: not measured.
    """

    psnr_db: float
    ssim: float
    mse: float
    psnr_input_db: float
    psnr_y_db: float | None = None
    ssim_y: float | None = None
    lpips: float | None = None

    @property
    def gain_db(self) -> float:
        """What the network added."""
        return self.psnr_db - self.psnr_input_db

    def to_dict(self) -> dict[str, float]:
        """Plain rounded values for JSON, the PSNR first; what was not measured is left out."""
        measured = {"psnr_y_db": (self.psnr_y_db, 4), "ssim_y": (self.ssim_y, 6), "lpips": (self.lpips, 6)}
        return {
            "psnr_db": round(self.psnr_db, 4),
            "ssim": round(self.ssim, 6),
            "mse": round(self.mse, 4),
            "psnr_input_db": round(self.psnr_input_db, 4),
            "gain_db": round(self.gain_db, 4),
            **{name: round(value, digits) for name, (value, digits) in measured.items() if value is not None},
        }

    @classmethod
    def mean(cls, several: Iterable[Scores]) -> Scores:
        """Mean of per-frame scores; of a score that some frame lacks there is none."""
        frames = list(several)
        return cls(
            psnr_db=float(np.mean([one.psnr_db for one in frames])),
            ssim=float(np.mean([one.ssim for one in frames])),
            mse=float(np.mean([one.mse for one in frames])),
            psnr_input_db=float(np.mean([one.psnr_input_db for one in frames])),
            psnr_y_db=_mean_if_all([one.psnr_y_db for one in frames]),
            ssim_y=_mean_if_all([one.ssim_y for one in frames]),
            lpips=_mean_if_all([one.lpips for one in frames]),
        )


def _mean_if_all(values: list[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return float(np.mean(measured)) if len(measured) == len(values) else None


@dataclass(frozen=True, slots=True)
class SequenceScores:
    """Scores of one sequence.

    Attributes:
        name: Name of the sequence.
        frames: Scores by frame name, in order.
    """

    name: str
    frames: dict[str, Scores]

    @property
    def mean(self) -> Scores:
        """Mean over its frames."""
        return Scores.mean(self.frames.values())


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of a network on a set of sequences.

    Attributes:
        sequences: One entry per sequence.
    """

    sequences: tuple[SequenceScores, ...]

    @property
    def total(self) -> Scores:
        """Mean over all frames of all sequences."""
        return Scores.mean(scores for sequence in self.sequences for scores in sequence.frames.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the total, then every sequence with its frames."""
        sequences = [
            {
                "name": sequence.name,
                **sequence.mean.to_dict(),
                "frames": {name: scores.to_dict() for name, scores in sequence.frames.items()},
            }
            for sequence in self.sequences
        ]
        frames = sum(len(sequence.frames) for sequence in self.sequences)
        return {**self.total.to_dict(), "frames": frames, "sequences": sequences}


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One frame just scored.

    Attributes:
        pair: Where it came from.
        blurred: The network's input, enlarged bicubically to the size of ``sharp``.
        restored: What the network made of it, likewise.
        sharp: The truth, ``uint8 [height, width, 3]``.
        scores: Of ``restored``.
    """

    pair: Pair
    blurred: Pixels
    restored: Pixels
    sharp: Pixels
    scores: Scores


@dataclass(frozen=True, slots=True)
class ScoreConfig:
    """What is measured, and what the network is given.

    Attributes:
        with_neighbours: Whether the frames before and after are read; a network of one frame needs none.
        with_luminance: Whether PSNR and SSIM of the luminance are measured as well.
        lpips: Measures LPIPS of a restored and a sharp picture (``open_lpips``); None: not measured.
    """

    with_neighbours: bool = True
    with_luminance: bool = True
    lpips: Callable[[Pixels, Pixels], float] | None = None


def score_pairs(restore: Restore, sequence: PairSequence, config: ScoreConfig | None = None) -> Iterator[Scored]:
    """Restore and score the scored frames of one sequence, one by one.

    Where the truth is larger than the input, a network that leaves the size is helped with
    bicubic enlargement.

    Args:
        restore: Called with the blurred picture, the one before and the one after;
            ``Session.restore`` fits.
        sequence: What is scored.
        config: What is measured; all but LPIPS if None.

    Raises:
        SourceError: A picture cannot be read or a pair does not fit together.
        ContractError: The network made pictures of a size that fits neither input nor truth.
    """
    config = config or ScoreConfig()
    inputs = _Inputs(sequence)
    for place in sequence.scored_places:
        pair = sequence.pairs[place]
        blurred, sharp = pair.beside_truth(inputs.whole(place))
        around = inputs.around(place) if config.with_neighbours else (None, None)
        restored = _fitted(restore(blurred, *around), blurred, sharp, pair)
        enlarged = enlarge_bicubic(blurred, pair.scale) if pair.scale > 1 else blurred
        yield Scored(pair, enlarged, restored, sharp, measure(restored, sharp, enlarged, config))


def measure(restored: Pixels, sharp: Pixels, blurred: Pixels, config: ScoreConfig) -> Scores:
    """Score one restored picture; all three are of one size, ``uint8 [height, width, 3]``."""
    return Scores(
        psnr_db=min(psnr(restored, sharp), EXACT_DB),
        ssim=ssim(restored, sharp),
        mse=mse(restored, sharp),
        psnr_input_db=min(psnr(blurred, sharp), EXACT_DB),
        psnr_y_db=min(psnr_y(restored, sharp), EXACT_DB) if config.with_luminance else None,
        ssim_y=ssim_y(restored, sharp) if config.with_luminance else None,
        lpips=None if config.lpips is None else config.lpips(restored, sharp),
    )


class _Inputs:
    """Blurred pictures of a sequence; the last ones are kept, so that neighbours are read once."""

    def __init__(self, sequence: PairSequence) -> None:
        self._sequence = sequence
        self._kept: dict[int, Pixels] = {}

    def whole(self, place: int) -> Pixels:
        self._kept = {kept: pixels for kept, pixels in self._kept.items() if kept >= place - 1}
        if place not in self._kept:
            self._kept[place] = self._sequence.pairs[place].read_whole_input()
        return self._kept[place]

    def around(self, place: int) -> tuple[Pixels | None, Pixels | None]:
        return self._neighbour(place - 1), self._neighbour(place + 1)

    def _neighbour(self, place: int) -> Pixels | None:
        pairs = self._sequence.pairs
        if not self._sequence.is_consecutive or not 0 <= place < len(pairs):
            return None
        if place not in self._kept:
            self._kept[place] = pairs[place].read_whole_input()
        return pairs[place].cropped(self._kept[place])


def _fitted(restored: Pixels, blurred: Pixels, sharp: Pixels, pair: Pair) -> Pixels:
    """Bring what the network made to the size of the truth, or say why it cannot be."""
    if restored.shape == sharp.shape:
        return restored
    if pair.scale > 1 and restored.shape == blurred.shape:
        return enlarge_bicubic(restored, pair.scale)
    advice = ""
    if pair.scale == 1 and restored.shape[:2] == (4 * blurred.shape[0], 4 * blurred.shape[1]):
        advice = "; the network enlarges 4 times, score it with --track blur_bicubic_x4"
    raise ContractError(f"{pair.name}: restored is {list(restored.shape)}, the truth {list(sharp.shape)}{advice}")
