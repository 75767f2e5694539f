"""Scoring a network on pairs: per frame, per sequence and in total."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ContractError
from .metrics import mse, psnr, ssim
from .pairs import Pair, PairSequence

Pixels = NDArray[np.uint8]

#: what an exact picture counts as in means, where its PSNR would be infinite
EXACT_DB = 100.0


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one frame, or means over frames, on 8-bit RGB.

    Attributes:
        psnr_db: Of the restored picture; an exact one counts as 100 dB.
        ssim: Of the restored picture.
        mse: Of the restored picture, squared grey levels.
        psnr_input_db: Of the blurred picture.
    """

    psnr_db: float
    ssim: float
    mse: float
    psnr_input_db: float

    @property
    def gain_db(self) -> float:
        """What the network added."""
        return self.psnr_db - self.psnr_input_db

    def to_dict(self) -> dict[str, float]:
        """Plain rounded values for JSON, the PSNR first."""
        return {
            "psnr_db": round(self.psnr_db, 4),
            "ssim": round(self.ssim, 6),
            "mse": round(self.mse, 4),
            "psnr_input_db": round(self.psnr_input_db, 4),
            "gain_db": round(self.gain_db, 4),
        }

    @classmethod
    def mean(cls, several: Iterable[Scores]) -> Scores:
        """Mean of per-frame scores."""
        rows = [(one.psnr_db, one.ssim, one.mse, one.psnr_input_db) for one in several]
        return cls(*(float(value) for value in np.mean(rows, axis=0)))


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
        blurred: ``uint8 [height, width, 3]``.
        restored: What the network made of it.
        sharp: The truth.
        scores: Of ``restored``.
    """

    pair: Pair
    blurred: Pixels
    restored: Pixels
    sharp: Pixels
    scores: Scores


def score_pairs(restore: Callable[[Pixels], Pixels], sequence: PairSequence) -> Iterator[Scored]:
    """Restore and score the frames of one sequence, one by one.

    Raises:
        SourceError: A picture cannot be read or a pair differs in size.
        ContractError: The network changed the size of a frame.
    """
    for pair in sequence:
        blurred, sharp = pair.read()
        restored = restore(blurred)
        if restored.shape != sharp.shape:
            raise ContractError(f"{pair.name}: restored is {list(restored.shape)}, the truth {list(sharp.shape)}")
        scores = Scores(
            psnr_db=min(psnr(restored, sharp), EXACT_DB),
            ssim=ssim(restored, sharp),
            mse=mse(restored, sharp),
            psnr_input_db=min(psnr(blurred, sharp), EXACT_DB),
        )
        yield Scored(pair, blurred, restored, sharp, scores)
