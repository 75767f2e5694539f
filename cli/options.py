"""Options several verbs share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import click

from ..core.errors import UsageError
from ..runtime.backend import BACKENDS, BackendConfig, Precision
from ..runtime.session import SessionConfig
from ..runtime.tiling import TileConfig

Command = Callable[..., Any]


class SectionedCommand(click.Command):
    """A command whose help shows options under headings.

    Attributes:
        sections: Heading -> names under which the command gets the options; others come first.
    """

    sections: ClassVar[Mapping[str, Sequence[str]]] = {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        title_of = {name: title for title, names in self.sections.items() for name in names}
        rows: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Options", *self.sections)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                rows[title_of.get(parameter.name or "", "Options")].append(record)
        for title, records in rows.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class SizeType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """``HEIGHTxWIDTH`` in pixels."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Read ``720x1280``."""
        if isinstance(value, tuple):
            return value[0], value[1]
        match = re.fullmatch(r"([1-9][0-9]*)x([1-9][0-9]*)", value)
        if match is None:
            self.fail(f"{value!r} is no size, expected HEIGHTxWIDTH such as 720x1280", param, ctx)
        return int(match[1]), int(match[2])


SIZE = SizeType()


class DecibelType(click.FloatRange):
    """A number of decibels; what is no number is refused, for every comparison with it is false."""

    name = "DB"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read ``45`` or ``45.5``."""
        decibels: float = super().convert(value, param, ctx)
        if math.isnan(decibels):
            self.fail(f"{value!r} is no number of decibels", param, ctx)
        return decibels


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


def model_options(command: Command) -> Command:
    """Add ``--checkpoint`` and ``--tlsc``, which go with networks of the zoo."""
    tlsc = click.option(
        "--tlsc",
        metavar="TRAIN:BASE",
        help="Pool over windows instead of globally: size of the training crops, and of the window (256:384, 64:96).",
    )
    checkpoint = click.option(
        "--checkpoint",
        type=click.Path(path_type=Path),
        help="The authors' weights for a network of the zoo: PyTorch, safetensors or Keras.",
    )
    with_options: Command = checkpoint(tlsc(command))
    return with_options


def tile_options(command: Command) -> Command:
    """Add ``--tile`` and ``--tile-inexact``."""
    inexact = click.option(
        "--tile-inexact",
        type=click.IntRange(min=0),
        metavar="PX",
        help="With --tile: a halo of PX pixels where the network's own is larger or the whole frame; the error is "
        "measured on the first frame, which takes the memory of about four tiles, and said.",
    )
    tile = click.option(
        "--tile",
        type=SIZE,
        help="Restore frames in tiles, for frames larger than memory: the largest size the network is given, halo "
        "included. The result is that of the whole frame. The halo (deblurrt models) is computed twice: at 121 px, "
        "tiles of 1024x1024 see 1.6 times the pixels of a 2160x3840 frame, 512x512 see 3.4 times.",
    )
    with_options: Command = tile(inexact(command))
    return with_options


def session_config(
    model: str,
    backend: str,
    precision: str,
    threads: int | None,
    provider: str,
    tile: tuple[int, int] | None = None,
    tile_inexact: int | None = None,
) -> SessionConfig:
    """Gather the options of ``backend_options``, those of ``tile_options`` and a model.

    Raises:
        UsageError: ``--tile-inexact`` stands alone.
    """
    if tile_inexact is not None and tile is None:
        raise UsageError("--tile-inexact says how tiles are cut; give --tile HxW as well")
    options = BackendConfig(cast(Precision, precision), threads, provider)
    return SessionConfig(model, backend, options, TileConfig(tile, tile_inexact) if tile else None)


def json_option(command: Command) -> Command:
    """Add ``--json``."""
    option: Callable[[Command], Command] = click.option(
        "--json", "json_place", metavar="FILE", help="Write the result as JSON; - is standard output."
    )
    return option(command)
