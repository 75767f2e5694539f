"""What a live run says while it goes on: a table that changes, or a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ..runtime.live_job import OnStatus
from .output import terminal

#: how often the table changes, and how often a line comes where there is no terminal
TABLE_S, LINE_S = 0.5, 10.0

COLUMNS = ("source", "health", "frames", "deblurred", "passed", "dropped", "p50 ms", "p99 ms", "late", "reconnects")


@contextmanager
def live_status(console: Console | None = None) -> Iterator[OnStatus]:
    """Show the account while it grows; a table on a terminal, else lines."""
    console = console or terminal()
    shown_s = time.monotonic()
    if not console.is_terminal:

        def print_lines(summary: Mapping[str, Any]) -> None:
            nonlocal shown_s
            if time.monotonic() - shown_s >= LINE_S:
                shown_s = time.monotonic()
                for line in status_lines(summary):
                    console.print(line, highlight=False, soft_wrap=True, markup=False)

        yield print_lines
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show_table(summary: Mapping[str, Any]) -> None:
            nonlocal shown_s
            if time.monotonic() - shown_s >= TABLE_S:
                shown_s = time.monotonic()
                live.update(status_table(summary), refresh=True)

        yield show_table


def status_lines(summary: Mapping[str, Any]) -> list[str]:
    """One line per camera."""
    lines = []
    for stream in summary["streams"]:
        cells = dict(zip(COLUMNS, _cells(stream), strict=True))
        source, health = cells.pop("source"), cells.pop("health")
        lines.append(f"{source}: {health}, " + ", ".join(f"{name} {value}" for name, value in cells.items()))
    return lines


def status_table(summary: Mapping[str, Any]) -> Table:
    """A row per camera, the network and the sinks below."""
    sinks = ", ".join(
        f"{name} {counts['emitted']}"
        + (f" (skipped {counts['skipped']})" if counts["skipped"] else "")
        + (" failed" if counts["error"] else "")
        for name, counts in summary["sinks"].items()
    )
    locked = f"; left alone: {summary['locked_out']}" if summary["locked_out"] else ""
    caption = f"{summary['model']} on {summary['backend']}{locked}\n{sinks}"
    table = Table(*COLUMNS, caption=caption, caption_justify="left")
    for stream in summary["streams"]:
        table.add_row(*_cells(stream))
    return table


def _cells(stream: Mapping[str, Any]) -> list[str]:
    states, captured = stream["states"], stream["captured"]
    passed = sum(count for state, count in states.items() if state.startswith("pass_"))
    dropped = sum(count for state, count in states.items() if state.startswith("dropped_"))
    deblurred = states.get("deblurred", 0)
    share = f" ({deblurred / captured:.0%})" if captured else ""
    latency = stream["latency_ms"]
    counts = (str(passed), str(dropped), _number(latency["p50"]), _number(latency["p99"]), str(stream["missed"]))
    health = f"{stream['health']}: {stream['reason']}" if stream["reason"] else stream["health"]
    return [stream["stream"], health, str(captured), f"{deblurred}{share}", *counts, str(stream["reconnects"])]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
