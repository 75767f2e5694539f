"""``deblurrt run`` on cameras and streams, and on files played like them."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..core.errors import IncompleteError, SourceError, UsageError
from ..runtime.live_job import LiveJobConfig, place_of_camera, run_live
from ..runtime.live_runner import LiveConfig
from ..runtime.live_source import LiveSource
from ..runtime.outbox import ResultSink
from ..runtime.paced_source import PacedSource
from ..runtime.redaction import redacted
from ..runtime.result_sinks import scheme_of
from ..runtime.session import SessionConfig
from ..runtime.sinks import check_sink
from ..runtime.source_uris import is_live_uri, open_live_source
from ..runtime.sources import STANDARD_INPUT, open_source
from .live_networks import hash_of_choice, open_ladder, settings_of
from .live_options import LiveChoice
from .live_status import live_status, summary_lines
from .live_view import open_view
from .opening import ModelChoice
from .output import terminal, write_json
from .signals import stop_on_signals

#: the view's status changes once a second; looks come ten times as often
VIEW_LOOKS = 10


def run_cameras(
    choice: LiveChoice,
    sinks: Sequence[str],
    model: ModelChoice,
    config: SessionConfig,
    job: LiveJobConfig,
    json_place: str | None,
) -> int:
    """Run until the sources end or a signal comes; returns the exit code.

    Raises:
        UsageError: There is no sink.
        SourceError: No frame came.
        IncompleteError: A source or a sink failed; outputs are kept.
    """
    if not sinks and choice.view_port is None and choice.ledger is None:
        raise UsageError("no output is named; give one, or --view PORT to watch")

    models = [model, *(ModelChoice(name) for name in choice.ladder)]
    with ExitStack() as stack:
        sources = [_open(uri, choice) for uri in choice.sources]
        for source in sources:
            stack.callback(source.close)
        _check_places(sinks, len(sources), job.force)
        view = open_view(choice)
        all_sinks: list[str | ResultSink] = [*sinks, *([view] if view is not None else [])]
        stop, caught = stack.enter_context(stop_on_signals())
        on_status = stack.enter_context(live_status())
        looks = 0

        def show(summary: dict[str, Any]) -> None:
            nonlocal looks
            on_status(summary)
            looks += 1
            if view is not None and looks % VIEW_LOOKS == 0:
                view.status(summary)

        # a collection of everything loaded so far takes a tenth of a second, in which frames are late
        gc.freeze()
        stack.callback(gc.unfreeze)
        job = replace(job, model_hashes=[hash_of_choice(one) for one in models], settings=settings_of(config))
        summary = run_live(sources, partial(open_ladder, models, config), all_sinks, job, show, stop)
    write_json(json_place, summary)
    _print_summary(summary)
    if caught and not any(source.is_live for source in sources):
        return 128 + caught[0]
    if summary["incomplete"] and not summary["captured"]:
        raise SourceError(summary["incomplete"])
    if summary["incomplete"]:
        raise IncompleteError(summary["incomplete"])
    return 0


def live_job_config(choice: LiveChoice, side_by_side: bool, force: bool) -> LiveJobConfig:
    """Gather what a live run needs."""
    copy_from = None if is_live_uri(choice.sources[0]) else Path(choice.sources[0])
    is_video = copy_from is not None and copy_from.is_file()
    live = LiveConfig(choice.deadline_ms, has_gate=choice.has_gate, pace=choice.pace)
    return LiveJobConfig(live, choice.ledger, side_by_side, force, copy_from if is_video else None, choice.isolate)


def _check_places(sinks: Sequence[str], cameras: int, force: bool) -> None:
    """Refuse recordings that cannot be begun, before a network is loaded for them."""
    for sink in sinks:
        for index in range(cameras if scheme_of(sink) is None else 0):
            check_sink(place_of_camera(sink, index), force=force)


def _open(uri: str, choice: LiveChoice) -> LiveSource:
    if is_live_uri(uri):
        return open_live_source(uri, choice.reading)
    raw = choice.raw if uri == STANDARD_INPUT else None
    return PacedSource(open_source(uri, raw, choice.reading.untagged_matrix))


def _print_summary(summary: dict[str, Any]) -> None:
    console = terminal()
    for line in summary_lines(summary):
        console.print(redacted(line), highlight=False, soft_wrap=True, markup=False)
