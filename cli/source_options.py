"""Options of ``deblurrt run`` for how sources are read: readers, patience, damage, colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import click

from ..core.errors import UsageError
from ..runtime.color import MATRICES
from ..runtime.source_health import HealthLimits
from ..runtime.source_uris import LiveOptions, is_live_uri

Command = Callable[..., Any]

_DEFAULT, _LIMITS = LiveOptions(), HealthLimits()


class SecondsType(click.FloatRange):
    """A duration in seconds; what is no number, or has no end, is refused."""

    name = "S"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read ``2`` or ``0.5``."""
        seconds: float = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is no duration, expected seconds such as 2.5", param, ctx)
        return seconds


_SECONDS = SecondsType(min=0, min_open=True)

#: option -> name under which the command gets it; those that only make sense for some sources
_STREAM_OPTIONS = {"--reader": "reader", "--rtsp-transport": "rtsp_transport"}
_CAMERA_OPTIONS = {
    "--open-timeout": "open_timeout",
    "--stall-timeout": "stall_timeout",
    "--connect-attempts": "connect_attempts",
    "--reconnect-delay": "reconnect_delay",
    "--reconnect-delay-max": "reconnect_delay_max",
    "--reconnect-frozen": "reconnect_frozen",
    "--keep-damaged": "keep_damaged",
}

#: names under which the command gets these options
SOURCE_OPTIONS = (*_STREAM_OPTIONS.values(), *_CAMERA_OPTIONS.values(), "untagged_matrix")


def source_options(command: Command) -> Command:
    """Add the options that say how cameras, streams and videos are read."""
    choices = (
        click.option(
            "--reader",
            type=click.Choice(["auto", "gstreamer", "pyav"]),
            help="Who reads rtsp://. GStreamer shows a frame when it is whole, PyAV when the next one begins; auto "
            "takes GStreamer where it is installed.  [default: auto]",
        ),
        click.option(
            "--rtsp-transport",
            type=click.Choice(["tcp", "udp"]),
            help="How rtsp:// carries frames; udp loses some where the network does.  [default: tcp]",
        ),
        click.option(
            "--open-timeout",
            type=_SECONDS,
            metavar="S",
            help=f"Seconds a camera may take to its first frame.  [default: {_LIMITS.open_s:g}]",
        ),
        click.option(
            "--stall-timeout",
            type=_SECONDS,
            metavar="S",
            help="Seconds without a frame after which a camera is connected anew; at least "
            f"{_LIMITS.stall_periods:g} frame periods.  [default: {_LIMITS.stall_s:g}]",
        ),
        click.option(
            "--connect-attempts",
            type=click.IntRange(min=1),
            metavar="N",
            help="Give a camera up after N connections in a row without a frame; never if not given.",
        ),
        click.option(
            "--reconnect-delay",
            type=_SECONDS,
            metavar="S",
            help=f"Seconds before the second attempt; each later wait is twice as long.  "
            f"[default: {_LIMITS.first_retry_s:g}]",
        ),
        click.option(
            "--reconnect-delay-max",
            type=_SECONDS,
            metavar="S",
            help=f"Longest of these waits.  [default: {_LIMITS.longest_retry_s:g}]",
        ),
        click.option(
            "--reconnect-frozen",
            is_flag=True,
            help="Connect a camera anew that gives the same picture again and again; else that is only said, for a "
            "still scene may do so too.",
        ),
        click.option(
            "--keep-damaged",
            is_flag=True,
            help="Restore frames the decoder marks as damaged; else cameras withhold and count them.",
        ),
        click.option(
            "--untagged-matrix",
            type=click.Choice(sorted(MATRICES)),
            help="Colours of video that does not name its matrix; if not given bt709 from 720 lines on, else bt601.",
        ),
    )
    for option in reversed(choices):
        command = option(command)
    return command


def reading_of(sources: Sequence[str], **given: Any) -> LiveOptions:
    """Gather the options of ``source_options``.

    Raises:
        UsageError: One goes with none of the sources, or two contradict each other.
    """
    is_live = any(is_live_uri(source) for source in sources)
    has_rtsp = any(source.lower().startswith(("rtsp://", "rtsps://")) for source in sources)
    _check(_STREAM_OPTIONS, given, is_fit=has_rtsp, fits="rtsp:// sources")
    _check(_CAMERA_OPTIONS, given, is_fit=is_live, fits="cameras and streams; files are read whole")
    limits = _limits(given)
    if limits.first_retry_s > limits.longest_retry_s:
        raise UsageError(
            f"--reconnect-delay is {limits.first_retry_s:g} s and the longest wait {limits.longest_retry_s:g} s; "
            "raise --reconnect-delay-max"
        )
    return LiveOptions(
        reader=given["reader"] or _DEFAULT.reader,
        transport=given["rtsp_transport"] or _DEFAULT.transport,
        keeps_corrupt=given["keep_damaged"],
        attempts=given["connect_attempts"],
        limits=limits,
        untagged_matrix=matrix_of(given["untagged_matrix"]),
        reconnects_frozen=given["reconnect_frozen"],
    )


def matrix_of(name: str | None) -> int | None:
    """Give the number of a colour matrix; None for none."""
    return None if name is None else MATRICES[name]


def _check(options: dict[str, str], given: dict[str, Any], *, is_fit: bool, fits: str) -> None:
    for option, name in options.items():
        if given[name] and not is_fit:
            raise UsageError(f"{option} goes with {fits}")


def _limits(given: dict[str, Any]) -> HealthLimits:
    fields = {
        "open_s": given["open_timeout"],
        "stall_s": given["stall_timeout"],
        "first_retry_s": given["reconnect_delay"],
        "longest_retry_s": given["reconnect_delay_max"],
    }
    return replace(_LIMITS, **{name: seconds for name, seconds in fields.items() if seconds is not None})
