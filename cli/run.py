"""``deblurrt run``: a video, pictures or a camera in, a sharper video or pictures out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..core.errors import IncompleteError, UsageError
from ..runtime.job import Progress as OnProgress
from ..runtime.job import RunConfig, RunSummary, run
from ..runtime.latency import latency_text
from ..runtime.live_job import place_of_camera
from ..runtime.pipeline import Counts
from ..runtime.result_sinks import scheme_of
from ..runtime.session import Session, SessionConfig
from ..runtime.shipped_models import SHIPPED
from ..runtime.source_uris import is_live_uri
from ..runtime.sources import STANDARD_INPUT, SourceInfo, open_source
from ..runtime.terminal import Result
from .ffmpeg_args import ffmpeg_args
from .file_run_facts import FileFacts, watched_machine
from .hidden_arguments import hide_arguments
from .live_options import LIVE_OPTIONS, LiveChoice, live_choice, live_options
from .live_run import live_job_config, run_cameras
from .live_view import view_thread
from .opening import ModelChoice, is_network, open_model
from .options import SectionedCommand, backend_options, json_option, model_options, session_config, tile_options
from .other_outputs import check_stdout, open_other_outputs
from .output import check_apart, check_json_place, log_above, terminal, write_json
from .signals import stop_on_signals
from .source_options import SOURCE_OPTIONS, SecondsType, reading_of, source_options

EXAMPLES = """\b
Examples:
  deblurrt run drive.mp4 sharper.mp4
  deblurrt run drive.mp4 sharper.mkv --model fast --side-by-side --json summary.json
  deblurrt run frames/ restored/            (folders of pictures)
  deblurrt run blurred.png sharper.png
  deblurrt run rtsp://camera.lan/live sharper.mkv --deadline-ms 50 --ledger frames.jsonl
  deblurrt run rtsp://camera.lan/live out.mkv --rtsp-transport udp --stall-timeout 3 --connect-attempts 20
  deblurrt run 'v4l2:///dev/v4l/by-id/usb-cam?size=720x1280&fps=30' out.mkv
  deblurrt run 0 --view 8080                (the first camera, watched in a browser)
  ffmpeg -i in.ts -f yuv4mpegpipe - | deblurrt run - out.mkv   (plain RGB with --raw 720x1280@30)
  deblurrt run drive.mp4 - | ffplay -       (Y4M for the next program; raw:- is plain RGB)
  deblurrt run a.mp4 raw:- | ffmpeg $(deblurrt run a.mp4 raw:- --print-ffmpeg-args) out.webm
  deblurrt run 0 shm://front                (for other programs; also zmq+tcp://, window://)"""


#: what stands under which heading of the help
SECTIONS = {
    "Network": ("checkpoint", "tlsc", "backend", "precision", "threads", "provider", "tile", "tile_inexact"),
    "Live, and files with a deadline": ("further_sources", "deadline_ms", "pace", "ladder", "isolate"),
    "Reading": ("raw", *SOURCE_OPTIONS),
    "Account and view": ("json_place", "ledger", "idle_s", "view_port", "view_host"),
}


class _RunCommand(SectionedCommand):
    sections = SECTIONS


@click.command("run", cls=_RunCommand, epilog=EXAMPLES)
@click.argument("source")
@click.argument("sinks", nargs=-1, metavar="[SINK]…")
@click.option(
    "--model",
    default="default",
    show_default=True,
    help=f"Shipped model ({', '.join(SHIPPED)}), an ONNX file, an engine, or a network of the zoo (deblurrt models).",
)
@model_options
@backend_options
@tile_options
@live_options
@source_options
@click.option(
    "--no-guard",
    "is_unguarded",
    is_flag=True,
    help="Files: write what the network gives, though it is black, no number, or, blurred again, not its input; for "
    "networks that change brightness or colours on purpose.",
)
@click.option(
    "--print-ffmpeg-args",
    "prints_ffmpeg_args",
    is_flag=True,
    help="Print what the ffmpeg that reads an output raw:- or -, or writes SOURCE -, must be told, and end.",
)
@click.option(
    "--measure-idle",
    "idle_s",
    type=SecondsType(min=0),
    default=0.0,
    metavar="S",
    help="Measure the machine at rest for S seconds first, so that energy per frame is known without it too.",
)
@click.option("--side-by-side", is_flag=True, help="Untouched frame on the left, restored one on the right.")
@click.option("--force", is_flag=True, help="Replace outputs that exist.")
@json_option
def run_command(
    source: str,
    sinks: tuple[str, ...],
    model: str,
    checkpoint: Path | None,
    tlsc: str | None,
    is_unguarded: bool,
    prints_ffmpeg_args: bool,
    idle_s: float,
    side_by_side: bool,
    force: bool,
    json_place: str | None,
    **options: Any,
) -> int:
    """Deblur SOURCE (a video, pictures, a folder of them, a camera, a stream, - for a pipe) into each SINK.

    Sound, subtitles, timestamps and colours of a video are kept. Output appears under its name
    when it is whole; Ctrl-C ends early with a playable file.

    Cameras and streams are given by URI: rtsp://, http://, v4l2://, csi://, synthetic://, or a
    camera's number. Their newest frame comes first, and every frame goes out by its deadline.
    """
    hide_arguments()
    choice = live_choice(source, **{name: options.pop(name) for name in LIVE_OPTIONS})
    reading = reading_of(choice.sources, **{name: options.pop(name) for name in SOURCE_OPTIONS})
    choice = replace(choice, reading=reading)
    for name in choice.sources:
        if name in sinks and name != STANDARD_INPUT:
            raise UsageError(f"{name} is both the source and an output; give the output another name")
    check_json_place(json_place)
    check_stdout(sinks, json_place)
    _check_apart(choice, sinks, json_place)
    config, chosen = session_config(model, **options), ModelChoice(model, checkpoint, tlsc)
    if prints_ffmpeg_args:
        click.echo(ffmpeg_args(choice, sinks, chosen, config))
        return 0
    watch = watched_machine(idle_s)
    if choice.is_live:
        if is_unguarded:
            raise UsageError("--no-guard goes with files; a live run always compares pictures with their input")
        job = replace(live_job_config(choice, side_by_side, force), watch=watch)
        return run_cameras(choice, sinks, chosen, config, job, json_place)
    with stop_on_signals() as (stop, caught), _progress_bar() as on_progress, ExitStack() as stack:
        session: SessionConfig | Session = config
        if is_network(model) or checkpoint or tlsc:
            session = stack.enter_context(open_model(chosen, config).session)
        view = stack.enter_context(view_thread(choice))
        # standard input can be opened once only
        opened = open_source(source, choice.raw, reading.untagged_matrix) if source == STANDARD_INPUT else source
        others = open_other_outputs(opened, sinks, stop, stack)
        takers = [sink.write for sink in others.values()] + ([] if view is None else [view.outbox.put])
        on_result = partial(_hand_to_all, takers) if takers else None
        job_config = RunConfig(
            session,
            side_by_side=side_by_side,
            force=force,
            has_gate=choice.has_gate,
            ledger=choice.ledger,
            on_result=on_result,
            has_guard=not is_unguarded,
            untagged_matrix=reading.untagged_matrix,
        )
        facts = FileFacts(chosen, config, on_progress, watch)
        summary = run(opened, [sink for sink in sinks if sink not in others], job_config, facts.look, stop)
    write_json(json_place, facts.to_dict(summary))
    _print_summary(summary)
    if caught:
        return 128 + caught[0]
    if summary.incomplete:
        hint = "; --no-guard writes what the network gives all the same" if summary.faults else ""
        raise IncompleteError(f"{summary.incomplete}; what there is, is kept in {', '.join(sinks)}{hint}")
    return 0


def _check_apart(choice: LiveChoice, sinks: Sequence[str], json_place: str | None) -> None:
    """Refuse outputs that are one file, recordings of further cameras among them.

    Raises:
        UsageError: Two are.
    """
    recordings = {
        f"output {number}" + (f" (camera {index + 1})" if index else ""): place_of_camera(sink, index)
        for number, sink in enumerate(sinks, 1)
        for index in range(len(choice.sources) if scheme_of(sink) is None else 0)
    }
    files = [name for name in choice.sources if not is_live_uri(name)]
    sources = {f"source {number}": name for number, name in enumerate(files, 1)}
    check_apart({**recordings, "--ledger": choice.ledger, "--json": json_place}, sources)


def _hand_to_all(takers: Sequence[Callable[[Result], None]], result: Result) -> None:
    for take in takers:
        take(result)


@contextmanager
def _progress_bar() -> Iterator[OnProgress]:
    """Frames, frames per second and time left, on the terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]} fps"),
        TimeRemainingColumn(),
    )
    console = terminal()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar, log_above():
        task = bar.add_task("preparing", total=None, fps="-")

        def on_progress(counts: Counts, info: SourceInfo) -> None:
            done = min(counts.emitted.values())
            elapsed_s = bar.tasks[0].elapsed or 0.0
            fps = f"{done / elapsed_s:.1f}" if done and elapsed_s else "-"
            bar.update(task, description=info.name, completed=done, total=info.frame_count, fps=fps)

        yield on_progress


def _print_summary(summary: RunSummary) -> None:
    console = terminal()
    console.print(
        f"{summary.states['deblurred']} of {summary.captured} frames deblurred in {summary.elapsed_s:.1f} s "
        f"({summary.fps} fps) with {summary.model} on {summary.backend}; from decoded to written "
        f"{latency_text(summary.latency_ms)}",
        highlight=False,
        soft_wrap=True,
    )
    for place, count in summary.emitted.items():
        console.print(f"{place}: {count} frames", highlight=False, soft_wrap=True)
