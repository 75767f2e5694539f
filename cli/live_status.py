"""What a live run says while it goes on: a table that changes, or a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..runtime.device_facts import UNAVAILABLE, energy_text, facts_of_run
from ..runtime.latency import TOO_SMALL, latency_text
from ..runtime.live_summary import OnStatus
from .output import log_above, terminal

#: how often the table changes, and how often a line comes where there is no terminal
TABLE_S, LINE_S = 0.5, 10.0

COLUMNS = (
    *("source", "health", "frames", "deblurred", "late", "passed", "dropped", "p50 ms", "p99 ms"),
    *("stalled s", "reconnects"),
)

#: characters from which on a camera is a row; it is a column where lines are shorter
WIDE = 160

#: what the table says of the machine
SHOWN_FACTS = ("energy per frame", "warmest in this run", "clocks held back", "scheduling")


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
    with Live(console=console, auto_refresh=False, transient=True) as live, log_above():

        def show_table(summary: Mapping[str, Any]) -> None:
            nonlocal shown_s
            if time.monotonic() - shown_s >= TABLE_S:
                shown_s = time.monotonic()
                live.update(status_table(summary, console.width), refresh=True)

        yield show_table


def status_lines(summary: Mapping[str, Any]) -> list[str]:
    """One line per camera."""
    lines = []
    for stream in summary["streams"]:
        cells = dict(zip(COLUMNS, _cells(stream), strict=True))
        source, health = cells.pop("source"), cells.pop("health")
        lines.append(f"{source}: {health}, " + ", ".join(f"{name} {value}" for name, value in cells.items()))
    return lines


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """What a run that is over says: coverage beside lateness, percentiles, energy, stalls, outputs."""
    if not summary["captured"]:
        return [f"no frame came in {summary['elapsed_s']:.1f} s, no output was begun"]
    states = summary["states"]
    others = ", ".join(f"{state} {count}" for state, count in states.items() if state != "deblurred") or "none"
    coverage, late = _percent(summary["deblur_coverage"]), _percent(summary["deadline_miss_rate"])
    lines = [
        f"{states.get('deblurred', 0)} of {summary['captured']} frames deblurred ({coverage}), {late} late, in "
        f"{summary['elapsed_s']:.1f} s with {summary['model']} on {summary['backend']}; others: {others}",
        f"from capture to going out {latency_text(summary['latency_ms'])}",
        f"energy per frame {energy_text(summary['energy_j_per_frame'])}; scheduling {summary['scheduling']['mode']}",
    ]
    lines += [_stalls(stream) for stream in summary["streams"] if stream["stalls"] or stream["reconnects"]]
    lines += [
        f"{name}: {_counted(counts['emitted'], 'frame')}, {counts['skipped']} skipped"
        for name, counts in summary["sinks"].items()
    ]
    return lines


def status_table(summary: Mapping[str, Any], width: int = WIDE) -> Table:
    """A row per camera, or a column where ``width`` is too little for that; the network and the sinks below."""
    sinks = ", ".join(
        f"{name} {counts['emitted']}"
        + (f" (skipped {counts['skipped']})" if counts["skipped"] else "")
        + (" failed" if counts["error"] else "")
        for name, counts in summary["sinks"].items()
    )
    locked = f"; left alone: {summary['locked_out']}" if summary["locked_out"] else ""
    restarts = f"; opened anew {count} times" if (count := summary.get("network_restarts")) else ""
    facts = facts_of_run(summary)
    machine = ", ".join(f"{name} {facts[name]}" for name in SHOWN_FACTS if not facts[name].startswith(UNAVAILABLE))
    caption = f"{summary['model']} on {summary['backend']}{restarts}{locked}\n{sinks}\n{machine}"
    rows: list[Sequence[str]] = [COLUMNS, *(_cells(stream) for stream in summary["streams"])]
    if width < WIDE:
        rows = list(zip(*rows, strict=True))
    table = Table(caption=Text(caption), caption_justify="left")
    for name in rows[0]:
        table.add_column(Text(name), overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    return table


def _cells(stream: Mapping[str, Any]) -> list[str]:
    states, captured = stream["states"], stream["captured"]
    passed = sum(count for state, count in states.items() if state.startswith("pass_"))
    dropped = sum(count for state, count in states.items() if state.startswith("dropped_"))
    deblurred = states.get("deblurred", 0)
    latency = stream["latency_ms"]
    counts = (
        str(captured),
        f"{deblurred}{_share(deblurred, captured)}",
        f"{stream['missed']}{_share(stream['missed'], captured)}",
        *(str(passed), str(dropped)),
        *(_number(latency[name], bool(captured)) for name in ("p50", "p99")),
        f"{stream['stall_s']:.1f}",
        str(stream["reconnects"]),
    )
    health = f"{stream['health']}: {stream['reason']}" if stream["reason"] else stream["health"]
    return [stream["stream"], health, *counts]


def _stalls(stream: Mapping[str, Any]) -> str:
    worst_s = stream["time_to_recover_s"]["worst"]
    recovered = "" if worst_s is None else f", back after at most {worst_s:.1f} s"
    return (
        f"{stream['stream']}: {_counted(stream['stalls'], 'stall')}, {stream['stall_s']:.1f} s in all, "
        f"{_counted(stream['reconnects'], 'reconnect')}{recovered}"
    )


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def _percent(share: float | None) -> str:
    return "no frame" if share is None else f"{share:.1%}"


def _share(part: int, whole: int) -> str:
    return f" ({part / whole:.1%})" if whole else ""


def _number(value: float | None, has_frames: bool) -> str:
    if value is None:
        return TOO_SMALL if has_frames else "-"
    return f"{value:.1f}"
