"""What all verbs print the same way: JSON results and the terminal."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ..core.errors import UsageError
from ..core.outputs import check_output, write_whole

STDOUT = "-"
#: characters no table of ours reaches
WIDEST = 1000


def terminal() -> Console:
    """The terminal for progress and tables: standard error, so that standard output stays clean."""
    return Console(stderr=True)


@contextmanager
def log_above() -> Iterator[None]:
    """Let log lines appear above what rich keeps in place, which it does with ``sys.stderr`` as it is now."""
    handlers = [one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler)]
    former = [(handler, handler.setStream(sys.stderr)) for handler in handlers if handler.stream is sys.__stderr__]
    try:
        yield
    finally:
        for handler, stream in former:
            handler.setStream(stream or sys.__stderr__)


def result_console(json_place: str | None) -> Console:
    """Where a result's table goes: standard output, or standard error where JSON has that."""
    return terminal() if json_place == STDOUT else Console()


def print_table(table: Table, json_place: str | None) -> None:
    """Print a result's table whole: a narrow terminal wraps its lines, no figure is cut off."""
    console = result_console(json_place)
    console.width = max(console.width, Console(width=WIDEST).measure(table).maximum)
    console.print(table, soft_wrap=True)


def check_json_place(place: str | None) -> None:
    """Refuse a ``--json`` place whose folder is missing; an older result there is replaced."""
    if place and place != STDOUT:
        check_output(Path(place), force=True)


def check_apart(outputs: Mapping[str, Path | str | None], inputs: Mapping[str, Path | str | None]) -> None:
    """Refuse outputs that would replace each other or an input, whatever ``--force`` says.

    Args:
        outputs: Option -> place; None and ``-`` are none.
        inputs: What is read -> place; one where no file lies, such as the name of a network, is none.

    Raises:
        UsageError: Two places are one file.
    """
    taken = {Path(place).resolve(): what for what, place in inputs.items() if place and Path(place).exists()}
    for option, place in outputs.items():
        if not place or place == STDOUT:
            continue
        other = taken.setdefault(Path(place).resolve(), option)
        if other != option:
            raise UsageError(f"{option} and {other} are both {place}; give {option} another name")


def write_json(place: str | None, values: dict[str, Any]) -> None:
    """Write ``values`` to a file, or to standard output for ``-``; None writes nothing.

    A reader of standard output that has gone away wants no more, which is no error.

    Raises:
        OutputError: The file cannot be written.
    """
    if place is None:
        return
    text = json.dumps(values, indent=2)
    if place == STDOUT:
        try:
            click.echo(text)
        except BrokenPipeError:
            # else what is left of the text fails once more when the process ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    write_whole(Path(place), f"{text}\n".encode())
