"""The view's figures as text for Prometheus, and the one word for liveness probes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from .prometheus_lines import escaped, machine_lines, stream_lines
from .view_feed import LATENCY_BOUNDS_MS, StreamTotals, ViewFeed

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: name, help, health of a source that makes it 1
_SOURCE_STATES = (
    ("source_up", "Whether frames come, the same ones again and again or not.", ("streaming", "frozen")),
    ("source_frozen", "Whether the same picture comes again and again.", ("frozen",)),
)


def prometheus_text(feed: ViewFeed, counters: Mapping[str, int]) -> str:
    """Write all figures.

    Args:
        feed: Frames and status.
        counters: Further figures by name, of the view itself; ``_total`` at the end means a counter.
    """
    totals = feed.totals()
    _, status = feed.status
    lines = [*_frame_lines(totals, status), *_latency_lines(totals), *_source_lines(status)]
    lines += [*stream_lines(_sources(status)), *machine_lines(status)]
    for name, value in counters.items():
        lines += [f"# TYPE deblurrt_{name} {'counter' if name.endswith('_total') else 'gauge'}"]
        lines += [f"deblurrt_{name} {value}"]
    return "\n".join(lines) + "\n"


def health(feed: ViewFeed, stale_after_s: float) -> str:
    """``ok``, ``starting`` before the first frame, or ``stalled`` where a stream's last frame is old."""
    totals = feed.totals()
    if not totals:
        return "starting"
    oldest_ns = min(sums.t_capture_ns for sums in totals.values())
    return "stalled" if (time.monotonic_ns() - oldest_ns) / 1e9 > stale_after_s else "ok"


def _frame_lines(totals: Mapping[str, StreamTotals], status: Mapping[str, Any]) -> Iterator[str]:
    yield "# HELP deblurrt_frames_total Captured frames by terminal state."
    yield "# TYPE deblurrt_frames_total counter"
    told = {source.get("stream"): source.get("states") for source in _sources(status)}
    for stream, sums in totals.items():
        # The status counts frames without a picture too, such as dropped ones.
        for state, count in (told.get(stream) or sums.states).items():
            yield f'deblurrt_frames_total{{stream="{escaped(stream)}",state="{escaped(state)}"}} {count}'
    yield "# HELP deblurrt_last_frame_age_seconds Time since the last frame was captured."
    yield "# TYPE deblurrt_last_frame_age_seconds gauge"
    for stream, sums in totals.items():
        age_s = (time.monotonic_ns() - sums.t_capture_ns) / 1e9
        yield f'deblurrt_last_frame_age_seconds{{stream="{escaped(stream)}"}} {age_s:.3f}'
    with_deadline = {stream: sums.deadline_ms for stream, sums in totals.items() if sums.deadline_ms is not None}
    if with_deadline:
        yield "# TYPE deblurrt_deadline_seconds gauge"
    for stream, deadline_ms in with_deadline.items():
        yield f'deblurrt_deadline_seconds{{stream="{escaped(stream)}"}} {deadline_ms / 1e3:.6g}'


def _latency_lines(totals: Mapping[str, StreamTotals]) -> Iterator[str]:
    yield "# HELP deblurrt_frame_latency_seconds From capture to the end of a frame."
    yield "# TYPE deblurrt_frame_latency_seconds histogram"
    for stream, sums in totals.items():
        name = escaped(stream)
        counts = list(accumulate(sums.latency_counts))
        for bound_ms, count in zip(LATENCY_BOUNDS_MS, counts, strict=False):
            yield f'deblurrt_frame_latency_seconds_bucket{{stream="{name}",le="{bound_ms / 1e3:.6g}"}} {count}'
        yield f'deblurrt_frame_latency_seconds_bucket{{stream="{name}",le="+Inf"}} {counts[-1]}'
        yield f'deblurrt_frame_latency_seconds_sum{{stream="{name}"}} {sums.latency_sum_ms / 1e3:.6f}'
        yield f'deblurrt_frame_latency_seconds_count{{stream="{name}"}} {counts[-1]}'


def _source_lines(status: Mapping[str, Any]) -> Iterator[str]:
    sources = _sources(status)
    for name, text, healths in _SOURCE_STATES:
        if sources:
            yield f"# HELP deblurrt_{name} {text}"
            yield f"# TYPE deblurrt_{name} gauge"
        for source in sources:
            stream = escaped(source.get("stream", ""))
            yield f'deblurrt_{name}{{stream="{stream}"}} {int(source.get("health") in healths)}'
    reconnecting = [source for source in sources if isinstance(source.get("reconnects"), int)]
    if reconnecting:
        yield "# TYPE deblurrt_source_reconnects_total counter"
    for source in reconnecting:
        name = escaped(source.get("stream", ""))
        yield f'deblurrt_source_reconnects_total{{stream="{name}"}} {source["reconnects"]}'


def _sources(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    sources = status.get("streams")
    return [source for source in sources if isinstance(source, dict)] if isinstance(sources, list) else []
