"""Where pictures and pairs come from, how they are degraded, and how results are scored.

Example:
    >>> from deblurrt.datasets import open_dataset, psnr
    >>> dataset = open_dataset("REDS", track="blur_jpeg", split="val").choose("every10")
    >>> for sequence in dataset:
    ...     for pair in sequence:
    ...         blurred, sharp = pair.read()  # uint8 [height, width, 3] RGB
    ...         print(pair.name, psnr(blurred, sharp))
"""

from __future__ import annotations

from .dataset import Dataset, open_dataset
from .evaluation import Evaluation, ScoreConfig, Scored, Scores, SequenceScores, score_pairs
from .evaluation_journal import EvaluationJournal
from .lpips_metric import open_lpips
from .metrics import mse, psnr, psnr_y, ssim, ssim_y
from .pairs import FrameChoice, Pair, PairSequence, open_pairs
from .recordings import TRACKS, Track
from .resizing import enlarge_bicubic

__all__ = [
    "TRACKS",
    "Dataset",
    "Evaluation",
    "EvaluationJournal",
    "FrameChoice",
    "Pair",
    "PairSequence",
    "ScoreConfig",
    "Scored",
    "Scores",
    "SequenceScores",
    "Track",
    "enlarge_bicubic",
    "mse",
    "open_dataset",
    "open_lpips",
    "open_pairs",
    "psnr",
    "psnr_y",
    "score_pairs",
    "ssim",
    "ssim_y",
]
