"""Run networks on pictures, videos and streams.

Example:
    >>> from deblurrt.runtime import open_session, run
    >>> summary = run("blurred.mp4", ["sharper.mp4"])
    >>> with open_session("default") as session:
    ...     sharper = session.restore(pixels)  # uint8 [height, width, 3] RGB in and out
    >>> for result in stream("rtsp://camera.lan/live"):
    ...     show(result.restored, result.state)  # the untouched frame is in result.frame
"""

from __future__ import annotations

from .backend import BACKENDS, Backend, BackendConfig
from .frame import Frame
from .job import RunConfig, RunSummary, run
from .latency import LatencyReport
from .live_job import LiveJobConfig, run_live
from .live_runner import LiveConfig
from .live_source import LiveSource, SourceEvent
from .pipeline import Pipeline
from .session import Session, SessionConfig, open_session
from .shipped_models import SHIPPED
from .sinks import Sink, open_sink
from .source_health import HealthLimits
from .source_uris import LiveOptions, open_live_source
from .sources import Source, SourceInfo, open_source
from .streaming import StreamConfig, stream
from .terminal import Result, Terminal
from .tiling import TileConfig

__all__ = [
    "BACKENDS",
    "SHIPPED",
    "Backend",
    "BackendConfig",
    "Frame",
    "HealthLimits",
    "LatencyReport",
    "LiveConfig",
    "LiveJobConfig",
    "LiveOptions",
    "LiveSource",
    "Pipeline",
    "Result",
    "RunConfig",
    "RunSummary",
    "Session",
    "SessionConfig",
    "Sink",
    "Source",
    "SourceEvent",
    "SourceInfo",
    "StreamConfig",
    "Terminal",
    "TileConfig",
    "open_live_source",
    "open_session",
    "open_sink",
    "open_source",
    "run",
    "run_live",
    "stream",
]
