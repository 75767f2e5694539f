"""INT8 networks that keep the picture: which frames, which scales, which layers."""

from __future__ import annotations

from .budget_search import Trial
from .frames import FrameChoice, Frames, choose_frames
from .quality import FrameScore, Quality
from .quantization import Quantization
from .quantize_config import QuantizeConfig
from .quantize_file import quantize
from .quantize_report import QuantizeReport
from .sites import Site

__all__ = [
    "FrameChoice",
    "FrameScore",
    "Frames",
    "Quality",
    "Quantization",
    "QuantizeConfig",
    "QuantizeReport",
    "Site",
    "Trial",
    "choose_frames",
    "quantize",
]
