"""The command's entry: verbs loaded on use, errors as one line with a documented exit code."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import click

from ..core.errors import DeblurrtError

#: verb -> (module, attribute)
VERBS: dict[str, tuple[str, str]] = {
    "run": ("run", "run_command"),
    "eval": ("evaluate", "eval_command"),
    "models": ("models", "models_command"),
    "export": ("export", "export_command"),
    "compare": ("compare", "compare_command"),
    "inspect": ("inspect_file", "inspect_command"),
    "quantize": ("quantize", "quantize_command"),
    "build": ("build", "build_command"),
    "cache": ("cache", "cache_command"),
    "train": ("train", "train_command"),
    "device-report": ("device_report", "device_report_command"),
    "doctor": ("doctor", "doctor_command"),
    "plugins": ("plugins", "plugins_command"),
}
INTERRUPTED = 130
TERMINATED = 143

EXIT_CODES = """\b
Exit codes:
  0 ok                          1 a defect of deblurrt
  2 wrong usage                 3 a quality gate was not met
  5 this machine lacks a part   6 input missing, damaged or unfit
  7 output exists, disk full    8 finished but incomplete, output kept
  130, 143 stopped by a signal, output kept"""


class _Verbs(click.Group):
    """A group that imports a verb's module only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        module, attribute = VERBS[cmd_name]
        command = getattr(importlib.import_module(f".{module}", __package__), attribute)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=_Verbs, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("deblurrt"), prog_name="deblurrt")
def command() -> None:
    """Deblur video in real time: run, score, export and train deblurring networks."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """End the process with one line and a documented exit code where an error is raised on purpose."""
    try:
        yield
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except DeblurrtError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Leave through every ``finally`` on SIGTERM too, so that nothing half made stays behind."""
    previous = signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def main() -> None:
    """Run the command."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.addLevelName(logging.WARNING, "warning")
    with exit_codes(), _ended_by_sigterm():
        result = command.main(standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
