"""Options several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import click

from ..runtime.backend import BACKENDS, BackendConfig, Precision
from ..runtime.session import SessionConfig

Command = Callable[..., Any]


def backend_options(command: Command) -> Command:
    """Add ``--backend``, ``--precision``, ``--threads`` and ``--provider``."""
    choices = (
        click.option(
            "--provider",
            default="cpu",
            show_default=True,
            help="ONNX Runtime's execution provider by its short name: cpu, cuda, tensorrt, dml, coreml, …",
        ),
        click.option(
            "--threads", type=click.IntRange(min=1), help="CPU threads; all cores of this process if not given."
        ),
        click.option(
            "--precision",
            type=click.Choice(["auto", "fp32", "bf16"]),
            default="auto",
            show_default=True,
            help="Arithmetic on the CPU; auto uses bf16 where it is fast and changes little.",
        ),
        click.option(
            "--backend",
            type=click.Choice(["auto", *BACKENDS]),
            default="auto",
            show_default=True,
            help="What runs the network; auto takes the fastest installed one that computes correctly.",
        ),
    )
    for option in choices:
        command = option(command)
    return command


def session_config(model: str, backend: str, precision: str, threads: int | None, provider: str) -> SessionConfig:
    """Gather the options of ``backend_options`` and a model."""
    options = BackendConfig(cast(Precision, precision), threads, provider)
    return SessionConfig(model, backend, options)


def json_option(command: Command) -> Command:
    """Add ``--json``."""
    option: Callable[[Command], Command] = click.option(
        "--json", "json_place", metavar="FILE", help="Write the result as JSON; - is standard output."
    )
    return option(command)
