"""Outputs of ``deblurrt run`` that are no files: standard output, shared memory, ZeroMQ, a window."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing
from fractions import Fraction

from ..core.errors import UsageError
from ..runtime.outbox import ResultSink
from ..runtime.result_sinks import PIPES, ResultSinkOptions, open_result_sink, scheme_of
from ..runtime.sources import Source, open_source
from .output import STDOUT


def check_stdout(sinks: Sequence[str], json_place: str | None) -> None:
    """Refuse a run that would write two things to standard output.

    Raises:
        UsageError: It would.
    """
    takers = [sink for sink in sinks if scheme_of(sink) in PIPES]
    takers += ["--json -"] if json_place == STDOUT else []
    if len(takers) > 1:
        raise UsageError(f"{' and '.join(takers)} both go to standard output; send one of them elsewhere")


def open_other_outputs(
    source: str | Source, sinks: Sequence[str], stop: threading.Event, stack: ExitStack
) -> dict[str, ResultSink]:
    """Open the outputs of a run over a file that are no files; the run waits for them, they lose nothing.

    Args:
        source: Where frames come from, for their rate; a file is opened for it and closed again.
        sinks: All outputs.
        stop: Set when a reader wants no more.
        stack: Closes them.

    Returns:
        Place -> sink.
    """
    places = [sink for sink in sinks if scheme_of(sink) is not None]
    if not places:
        return {}
    options = ResultSinkOptions(frame_rate=_rate_of(source), on_reader_gone=stop.set)
    outputs: dict[str, ResultSink] = {}
    for place in places:
        outputs[place] = open_result_sink(place, options)
        stack.callback(outputs[place].close)
    return outputs


def _rate_of(source: str | Source) -> Fraction | None:
    if not isinstance(source, str):
        return source.info.frame_rate
    with closing(open_source(source)) as opened:
        return opened.info.frame_rate
