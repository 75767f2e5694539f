"""The progress of ``deblurrt build``: a bar with what the builder is at, and lines above it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

#: share of a build that has passed when the graph is parsed, in hundredths
PARSED_SHARE = 5


@contextmanager
def build_progress(console: Console) -> Iterator[BuildBar]:
    """Show a bar on a terminal, and a line for each stage elsewhere."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left, estimated"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = BuildBar(progress)
        yield bar
        bar.done()


class BuildBar:
    """A bar over the whole build.

    Args:
        progress: Draws it; silent where there is no terminal.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=100)
        self._steps = 1
        self._top: str | None = None

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line, highlight=False, soft_wrap=True, markup=False)

    def stage(self, what: str) -> None:
        """Show what is done now."""
        if self._progress.disable:
            self.say(what)
        self._progress.update(self._task, description=what)

    def done(self) -> None:
        """Show that nothing is left to do."""
        self._progress.update(self._task, completed=100, description="done")

    def event(self, event: dict[str, Any]) -> None:
        """Follow the builder; its outermost phase moves the bar."""
        kind = event["event"]
        if kind == "phase":
            if event["parent"] is None:
                self._top, self._steps = event["phase"], max(event["steps"], 1)
            self._progress.update(self._task, description=event["phase"])
        elif kind == "step" and event["phase"] == self._top:
            done = PARSED_SHARE + (100 - PARSED_SHARE) * (event["step"] + 1) / self._steps
            self._progress.update(self._task, completed=min(done, 99))
        elif kind == "parsing":
            self.stage("parsing")
        elif kind == "building":
            self.stage("building")
            self._progress.update(self._task, completed=PARSED_SHARE)
