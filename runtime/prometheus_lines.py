"""The account of a run as text for Prometheus: what each source did, and what the machine used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: name, kind, help, key of a stream's account
_STREAM_VALUES = (
    ("deadline_missed_total", "counter", "Frames that went out after their deadline.", "missed"),
    ("deadline_miss_ratio", "gauge", "Late frames of all captured.", "deadline_miss_rate"),
    ("deblur_coverage_ratio", "gauge", "Restored frames of all captured.", "deblur_coverage"),
    ("effective_coverage_ratio", "gauge", "Restored frames of those not sharp.", "effective_coverage"),
    ("source_lost_frames_total", "counter", "Frames the source knows it missed or withheld.", "lost_before"),
    ("source_stalls_total", "counter", "Times without a frame that were too long.", "stalls"),
    ("source_stall_seconds_total", "counter", "Their length.", "stall_s"),
    ("source_first_frame_seconds", "gauge", "From the start to the first frame.", "time_to_first_frame_s"),
    ("first_deblurred_seconds", "gauge", "From the start to the first restored one.", "time_to_first_deblurred_s"),
)
#: name, help, key whose value is a mapping, label for the keys of that, factor to the base unit
_STREAM_TABLES = (
    ("source_recovery_seconds", "From a loss to the next frame.", "time_to_recover_s", "which", 1),
    ("source_jitter_seconds", "Second difference of arrival times.", "jitter_ms", "which", 1e-3),
    ("output_jitter_seconds", "The same of times of going out.", "output_jitter_ms", "which", 1e-3),
    ("latency_seconds", "From capture to going out, where enough frames tell.", "latency_ms", "percentile", 1e-3),
    ("generator_lateness_seconds", "Behind the timetable.", "generator_lateness_ms", "percentile", 1e-3),
)


def stream_lines(streams: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Write what the accounts of streams hold; what is None there is left out."""
    for name, kind, text, key in _STREAM_VALUES:
        yield from _metric(name, kind, text, [(_stream(stream), stream.get(key), 1) for stream in streams])
    for name, text, key, label, factor in _STREAM_TABLES:
        cells = [
            ({**_stream(stream), label: str(which)}, value, factor)
            for stream in streams
            for which, value in (stream.get(key) or {}).items()
            if which != "count"
        ]
        yield from _metric(name, "gauge", text, cells)


def machine_lines(status: Mapping[str, Any]) -> Iterator[str]:
    """Write energy and heat; what the machine does not tell is left out, never zero."""
    energy, thermal = status.get("energy_j_per_frame") or {}, status.get("thermal") or {}
    rails = (energy.get("rails") or {}).items()
    joules = [({"rail": rail}, values.get("joules"), 1) for rail, values in rails]
    yield from _metric("energy_joules_total", "counter", "Energy since the run began.", joules)
    shares = [({"kind": kind}, energy.get(kind), 1) for kind in ("gross", "net")]
    yield from _metric("energy_joules_per_frame", "gauge", "With and without the machine at rest.", shares)
    now = thermal.get("end") or {}
    zone = [({"zone": str(now.get("zone"))}, now.get("temperature_c"), 1)]
    yield from _metric("temperature_celsius", "gauge", "Of the warmest zone.", zone)
    clocks = [({"clock": name}, value, 1e6) for name, value in (now.get("clocks_mhz") or {}).items()]
    yield from _metric("clock_hertz", "gauge", "Clocks at this moment.", clocks)
    events = [({"counter": name}, value, 1) for name, value in (thermal.get("throttle_events") or {}).items()]
    yield from _metric("throttle_events_total", "counter", "Times clocks were held back in this run.", events)
    if now.get("throttled") is not None:
        count = len(now["throttled"])
        yield from _metric("throttle_reasons", "gauge", "Reasons why GPUs hold clocks back now.", [({}, count, 1)])


def escaped(value: object) -> str:
    """A label's value."""
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _stream(stream: Mapping[str, Any]) -> dict[str, str]:
    return {"stream": str(stream.get("stream", ""))}


def _metric(name: str, kind: str, text: str, rows: Sequence[tuple[Mapping[str, str], Any, float]]) -> Iterator[str]:
    """One metric with a line for each row of labels, value and factor."""
    known = [(labels, value * factor) for labels, value, factor in rows if isinstance(value, (int, float))]
    if not known:
        return
    yield f"# HELP deblurrt_{name} {text}"
    yield f"# TYPE deblurrt_{name} {kind}"
    for labels, value in known:
        told = ",".join(f'{label}="{escaped(text)}"' for label, text in labels.items())
        yield f"deblurrt_{name}{{{told}}} {value:.9g}" if told else f"deblurrt_{name} {value:.9g}"
