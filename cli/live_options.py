"""Options of ``deblurrt run`` for cameras, streams and files played like them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import click

from ..core.errors import UsageError
from ..runtime.live_runner import Pace
from ..runtime.pipe_source import RawFormat
from ..runtime.source_uris import LiveOptions, is_live_uri
from ..runtime.sources import STANDARD_INPUT

Command = Callable[..., Any]

#: names under which the command gets these options
LIVE_OPTIONS = (
    *("further_sources", "deadline_ms", "pace", "has_gate", "ladder", "isolate", "ledger"),
    *("view_port", "view_host", "raw"),
)


@dataclass(frozen=True, slots=True)
class LiveChoice:
    """What the user asked for beside model and backend.

    Attributes:
        sources: The first source and each ``--source``.
        deadline_ms: From capture to going out; None for one frame period.
        has_gate: Whether sharp frames are left alone.
        ladder: Smaller models, in the order they are used.
        ledger: File that gets a line for every frame.
        view_port: Port of the browser view; None for no view.
        view_host: Address the view listens at.
        raw: What plain RGB on standard input is; None for Y4M.
        isolate: Whether the networks run in a process of their own.
        pace: Whether restored frames go out at once, or all frames at the same age.
        reading: How sources are read.
    """

    sources: tuple[str, ...]
    deadline_ms: float | None = None
    has_gate: bool = False
    ladder: tuple[str, ...] = ()
    ledger: Path | None = None
    view_port: int | None = None
    view_host: str = "127.0.0.1"
    raw: RawFormat | None = None
    isolate: bool = False
    pace: Pace = "newest"
    reading: LiveOptions = field(default_factory=LiveOptions)

    @property
    def is_live(self) -> bool:
        """Whether frames come by themselves: from a camera, or from a file that has a deadline.

        Raises:
            UsageError: Options that only make sense live go with a file without a deadline.
        """
        if self.deadline_ms is not None or any(is_live_uri(source) for source in self.sources):
            return True
        live_only = (
            ("--source", self.sources[1:]),
            ("--ladder", self.ladder),
            ("--isolate", self.isolate),
            ("--pace constant", self.pace == "constant"),
        )
        for option, given in live_only:
            if given:
                raise UsageError(f"{option} goes with cameras and streams, or files with --deadline-ms")
        return False


def live_options(command: Command) -> Command:
    """Add the options of cameras and streams, of the ledger, of the view and of standard input."""
    choices = (
        click.option(
            "--raw",
            metavar="HxW@FPS",
            help="What plain RGB on standard input (SOURCE -) is, such as 720x1280@30; Y4M says it itself.",
        ),
        click.option(
            "--view-host",
            default="127.0.0.1",
            show_default=True,
            metavar="H",
            help="Address the view listens at; one that others can reach needs the token in the printed URL.",
        ),
        click.option(
            "--view",
            "view_port",
            type=click.IntRange(0, 65535),
            metavar="PORT",
            help="Show frames, latency and health in a browser; 0 takes a free port.",
        ),
        click.option(
            "--ledger",
            type=click.Path(path_type=Path),
            metavar="F",
            help="Write what became of every frame: JSON Lines.",
        ),
        click.option(
            "--isolate",
            is_flag=True,
            help="Run the network in a process of its own, which is killed and started anew where the network hangs or "
            "crashes; live only.",
        ),
        click.option(
            "--ladder",
            metavar="MODEL,…",
            help="Smaller models, used while the one before is too slow; live only.",
        ),
        click.option(
            "--gate",
            "has_gate",
            is_flag=True,
            help="Leave sharp frames as they are.",
        ),
        click.option(
            "--pace",
            type=click.Choice(get_args(Pace)),
            default="newest",
            show_default=True,
            help="Live: restored frames go out at once, or at the age their deadline allows, as regular as they came.",
        ),
        click.option(
            "--deadline-ms",
            type=click.FloatRange(min=0, min_open=True),
            metavar="MS",
            help="Live: frames go out within MS of their capture, untouched where the network is late; one frame "
            "period if not given. A file with a deadline is played at its own speed, like a camera.",
        ),
        click.option(
            "--source",
            "further_sources",
            multiple=True,
            metavar="URI",
            help="Another camera; with a recording of its own, out-camera2.mkv.",
        ),
    )
    for option in choices:
        command = option(command)
    return command


def live_choice(
    source: str,
    further_sources: tuple[str, ...],
    deadline_ms: float | None,
    has_gate: bool,
    ladder: str | None,
    isolate: bool,
    pace: Pace,
    ledger: Path | None,
    view_port: int | None,
    view_host: str,
    raw: str | None,
) -> LiveChoice:
    """Gather the options of ``live_options``.

    Raises:
        UsageError: ``raw`` is no format, or goes with no source; ``ladder`` lacks a name.
    """
    if raw is not None and STANDARD_INPUT not in (source, *further_sources):
        raise UsageError(f"--raw goes with standard input (SOURCE -); {source} says itself what it is")
    rungs = () if ladder is None else tuple(name.strip() for name in ladder.split(","))
    if "" in rungs:
        raise UsageError(f"--ladder {ladder!r} lacks a name; expected models such as fast or small.onnx,fast")
    pipe = None if raw is None else RawFormat.from_text(raw)
    return LiveChoice(
        (source, *further_sources), deadline_ms, has_gate, rungs, ledger, view_port, view_host, pipe, isolate, pace
    )
