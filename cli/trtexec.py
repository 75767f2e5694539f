"""Spellings of trtexec that ``deblurrt build`` understands, and what they mean here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from ..core.contract import FrameContract
from ..core.errors import UsageError
from ..engines.build_config import Shapes, Size

#: ``frames:1x720x1280x3``; a file has one input, so its name need not be checked here
SHAPE = re.compile(r"(?:(?P<name>[^:]+):)?(?P<dims>\d+(?:x\d+){3,4})")
POOL = re.compile(r"workspace:(?P<size>\d+(?:\.\d+)?)(?P<unit>[BKMG]?)(?:iB)?", re.IGNORECASE)
MEBIBYTES = {"B": 1 / (1 << 20), "K": 1 / 1024, "": 1.0, "M": 1.0, "G": 1024.0}
#: spellings that ask for what is always so here
ALWAYS_SO = ("--stronglyTyped", "--skipInference", "--verbose")


def trtexec_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add trtexec's own spellings that have no counterpart among our options."""
    shape_help = "trtexec's spelling of --shapes: NAME:1x720x1280x3."
    options = [
        click.option("--minShapes", "min_shapes", metavar="SHAPE", help=shape_help),
        click.option("--optShapes", "opt_shapes", metavar="SHAPE", help=shape_help),
        click.option("--maxShapes", "max_shapes", metavar="SHAPE", help=shape_help),
        click.option(
            "--memPoolSize", "pool", metavar="POOL", help="trtexec's spelling of --workspace: workspace:1024M."
        ),
        *(
            click.option(name, name.strip("-").lower(), is_flag=True, hidden=True, help="Always so here.")
            for name in ALWAYS_SO
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def shapes_from(least: str | None, best: str | None, most: str | None, contract: FrameContract) -> Shapes | None:
    """Read ``--minShapes``, ``--optShapes`` and ``--maxShapes``; those that are missing are as the typical one.

    Raises:
        UsageError: One has another form, or the shape is none of this network's input.
    """
    given = {"--minShapes": least, "--optShapes": best, "--maxShapes": most}
    sizes = {option: _size(option, text, contract) for option, text in given.items() if text is not None}
    if not sizes:
        return None
    typical = sizes.get("--optShapes") or sizes.get("--maxShapes") or sizes["--minShapes"]
    return Shapes(sizes.get("--minShapes", typical), typical, sizes.get("--maxShapes", typical))


def batch_from(least: str | None, best: str | None, most: str | None) -> int | None:
    """Read the most frames at once from the shapes trtexec takes; None where none of them can be read.

    Raises:
        UsageError: The number does not run from one, or its largest is not the typical one.
    """
    given = {"--minShapes": least, "--optShapes": best, "--maxShapes": most}
    found = {option: SHAPE.fullmatch(text) for option, text in given.items() if text is not None}
    counts = {option: int(match["dims"].partition("x")[0]) for option, match in found.items() if match is not None}
    if not counts:
        return None
    batch = counts.get("--maxShapes", max(counts.values()))
    wanted = {"--minShapes": 1, "--optShapes": batch, "--maxShapes": batch}
    for option, count in counts.items():
        if count != wanted[option]:
            raise UsageError(
                f"{option} is of {count} frames at once, expected {wanted[option]}: engines take from one frame on "
                "here, and are made fast for the most"
            )
    return batch


def _size(option: str, text: str, contract: FrameContract) -> Size:
    found = SHAPE.fullmatch(text)
    if found is None:
        raise UsageError(f"{option} is {text!r}, expected a shape such as frames:1x720x1280x3")
    dims = tuple(map(int, found["dims"].split("x")))
    window = (contract.window,) if contract.window > 1 else ()
    if contract.io == "uint8":
        size, wanted = dims[-3:-1], (dims[0], *window, *dims[-3:-1], 3)
    else:
        size, wanted = dims[-2:], (dims[0], 3 * contract.window, *dims[-2:])
    if dims != wanted:
        expected = "x".join(map(str, wanted))
        raise UsageError(f"{option} is {text!r}, this network takes frames as {expected}")
    return size[0], size[1]


def workspace_from(pool: str | None) -> int | None:
    """Read ``--memPoolSize`` in MiB, as trtexec takes it; the workspace is the pool there is here.

    Raises:
        UsageError: It has another form or names another pool.
    """
    if pool is None:
        return None
    found = POOL.fullmatch(pool)
    if found is None:
        raise UsageError(f"--memPoolSize is {pool!r}, expected workspace:MIB such as workspace:1024")
    return max(1, round(float(found["size"]) * MEBIBYTES[found["unit"].upper()]))
