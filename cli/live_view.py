"""The browser view as one of a run's sinks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..runtime.device_facts import device_facts, facts_of_run
from ..runtime.outbox import SinkThread
from ..runtime.terminal import Result
from ..runtime.view_sink import ViewConfig, ViewSink, update_of
from .live_options import LiveChoice
from .output import terminal

#: what the view is told of a run's account
STATUS_KEYS = ("model", "backend", "streams", "energy_j_per_frame", "thermal")

#: hosts that stand for all addresses of this machine
EVERYWHERE = ("0.0.0.0", "::", "")


class ViewAdapter:
    """Shows results in a browser; what it is too slow for is skipped."""

    name = "view"
    queue_frames = 8
    keeps_newest = True

    def __init__(self, config: ViewConfig) -> None:
        self._view = ViewSink(config)
        self.url = self._view.url

    def write(self, result: Result) -> None:
        self._view.write(update_of(result))

    def status(self, summary: Mapping[str, Any]) -> None:
        """Show the account of a run."""
        known = {key: summary[key] for key in STATUS_KEYS if key in summary}
        sinks = {name: _sink_facts(counts) for name, counts in summary["sinks"].items()}
        device = {**device_facts(), **facts_of_run(summary)}
        self._view.status({**known, "sinks": sinks, "device": device})

    def close(self) -> None:
        self._view.close()

    def give_up(self) -> None:
        self._view.close()


def _sink_facts(counts: Mapping[str, Any]) -> dict[str, Any]:
    """What the page says of an output; what is None or 0 there is not shown."""
    latency = counts["latency_ms"]
    percentiles = {f"{name} ms": latency[name] for name in ("p50", "p99")}
    return {**{name: counts[name] for name in ("emitted", "skipped", "late")}, **percentiles, "error": counts["error"]}


def open_view(choice: LiveChoice) -> ViewAdapter | None:
    """Start the view that was asked for and say where it is.

    Raises:
        MissingExtraError: Its packages are not installed.
        UsageError: The port is taken.
    """
    if choice.view_port is None:
        return None
    view = ViewAdapter(ViewConfig(choice.view_port, choice.view_host))
    hint = "  (on other machines with this one's address or name)" if choice.view_host in EVERYWHERE else ""
    terminal().print(f"view: {view.url}{hint}", highlight=False, soft_wrap=True, markup=False)
    return view


@contextmanager
def view_thread(choice: LiveChoice) -> Iterator[SinkThread | None]:
    """The view of a run over a file, fed by a thread of its own."""
    view = open_view(choice)
    if view is None:
        yield None
        return
    thread = SinkThread(view, lambda _sink, _result, _emit_ms: None)
    try:
        yield thread
    finally:
        thread.finish()
        thread.join()
