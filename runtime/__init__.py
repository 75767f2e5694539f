"""Run networks on pictures, videos and streams.

Example:
    >>> from deblurrt.runtime import open_session, run
    >>> summary = run("blurred.mp4", ["sharper.mp4"])
    >>> with open_session("default") as session:
    ...     sharper = session.restore(pixels)  # uint8 [height, width, 3] RGB in and out
"""

from __future__ import annotations

from .backend import BACKENDS, Backend, BackendConfig
from .frame import Frame
from .job import RunConfig, RunSummary, run
from .latency import LatencyReport
from .pipeline import Pipeline
from .session import Session, SessionConfig, open_session
from .shipped_models import SHIPPED
from .sinks import Sink, open_sink
from .sources import Source, SourceInfo, open_source
from .tiling import TileConfig

__all__ = [
    "BACKENDS",
    "SHIPPED",
    "Backend",
    "BackendConfig",
    "Frame",
    "LatencyReport",
    "Pipeline",
    "RunConfig",
    "RunSummary",
    "Session",
    "SessionConfig",
    "Sink",
    "Source",
    "SourceInfo",
    "TileConfig",
    "open_session",
    "open_sink",
    "open_source",
    "run",
]
