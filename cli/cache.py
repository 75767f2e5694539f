"""``deblurrt cache``: what was made before and can be made again: engines, ONNX files, libraries of plugins."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, cast

import click
from rich.table import Table

from ..core.caches import cache_folder
from ..core.errors import UsageError
from ..core.outputs import output_error
from ..engines.engine_cache import CachedEngine, EngineCache
from .options import json_option
from .output import STDOUT, check_json_place, print_table, terminal, write_json

EXAMPLES = """\b
Examples:
  deblurrt cache list
  deblurrt cache prune --max-size 10
  deblurrt cache clear --only onnx
  du -sh "$(deblurrt cache path)"/*"""

Kind = Literal["engines", "onnx", "plugins"]
#: folder -> what one thing in it is called, and several
KINDS: dict[Kind, tuple[str, str]] = {
    "engines": ("engine", "engines"),
    "onnx": ("ONNX file", "ONNX files"),
    "plugins": ("plugin library", "plugin libraries"),
}
GIBIBYTE, MEBIBYTE = 1 << 30, 1 << 20
#: GiB of engines that stay when nothing else is asked for
DEFAULT_GIB = 20.0
SECONDS_PER_DAY = 86400


class GibibytesType(click.FloatRange):
    """An amount of memory; what is no number or has no end is refused."""

    name = "GIB"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read ``10`` or ``0.5``."""
        gibibytes: float = super().convert(value, param, ctx)
        if not math.isfinite(gibibytes):
            self.fail(f"{value!r} is no amount of memory", param, ctx)
        return gibibytes


@click.command("cache", epilog=EXAMPLES)
@click.argument("action", type=click.Choice(["list", "prune", "clear", "path"]))
@click.option(
    "--max-size",
    type=GibibytesType(min=0),
    default=DEFAULT_GIB,
    show_default=True,
    metavar="GIB",
    help="What prune leaves of engines.",
)
@click.option("--only", type=click.Choice(list(KINDS)), help="One of the folders; all if not given.")
@json_option
def cache_command(action: str, max_size: float, only: Kind | None, json_place: str | None) -> int:
    """List what was made before, drop the engines used longest ago, drop all, or say where it lies.

    An engine is found again only when everything that decides it is the same: the ONNX file, the
    builder and its version, GPU and driver, sizes and options. ONNX files are exports that builds began
    with. Engines that were built with plugins run with the very library they were built with.
    """
    check_json_place(json_place)
    kinds = (only,) if only else tuple(KINDS)
    if action == "prune" and "engines" not in kinds:
        raise UsageError(f"prune drops engines; to drop the others: deblurrt cache clear --only {only}")
    folder = cache_folder(only) if only else cache_folder("engines").parent
    if action == "path":
        if json_place != STDOUT:
            click.echo(folder)
        write_json(json_place, {"path": str(folder)})
    elif action == "clear":
        dropped = {kind: _clear(kind) for kind in kinds}
        terminal().print(f"dropped {', '.join(_count(kind, dropped[kind]) for kind in kinds)}", highlight=False)
        write_json(json_place, {"path": str(folder), "dropped": dropped})
    else:
        pruned: list[CachedEngine] = []
        if action == "prune":
            pruned = EngineCache(cache_folder("engines")).prune(int(max_size * GIBIBYTE))
            terminal().print(f"dropped {_count('engines', len(pruned))}", highlight=False)
        _list(folder, kinds, json_place, {"dropped": {"engines": len(pruned)}} if action == "prune" else {})
    return 0


def _count(kind: str, number: int) -> str:
    one, several = KINDS[cast(Kind, kind)]
    return f"{number} {one if number == 1 else several}"


def _list(folder: Path, kinds: Sequence[Kind], json_place: str | None, values: dict[str, Any]) -> None:
    entries = EngineCache(cache_folder("engines")).entries() if "engines" in kinds else []
    sizes = {kind: _size(cache_folder(kind)) for kind in kinds}
    engines = {"engines": [_facts(entry) for entry in entries]} if "engines" in kinds else {}
    write_json(json_place, {"path": str(folder), **engines, "bytes": sizes, **values})
    if entries:
        print_table(_engine_table(entries), json_place)
    print_table(_size_table(sizes), json_place)


def _facts(entry: CachedEngine) -> dict[str, object]:
    return {"plan": str(entry.plan), "bytes": entry.size_bytes, "used": entry.used, **entry.manifest.to_dict()}


def _engine_table(entries: list[CachedEngine]) -> Table:
    table = Table("model", "backend", "version", "GPU", "sizes", "precision", "MiB", "used")
    for entry in entries:
        manifest = entry.manifest
        precision = ", ".join(f"{100 * share:.0f}% {dtype}" for dtype, share in manifest.precision.items())
        days = (time.time() - entry.used) / SECONDS_PER_DAY
        table.add_row(
            manifest.model,
            manifest.backend,
            manifest.tensorrt,
            manifest.gpu or ", ".join(manifest.targets) or "any",
            "/".join(dict.fromkeys(f"{height}x{width}" for height, width in manifest.shapes))
            + (f", {manifest.batch_max} at once" if manifest.batch_max > 1 else ""),
            precision,
            f"{entry.size_bytes / MEBIBYTE:.1f}",
            f"{days:.1f} days ago",
        )
    return table


def _size_table(sizes: dict[Kind, int]) -> Table:
    table = Table("folder", "holds", "MiB")
    for kind, size in sizes.items():
        table.add_row(str(cache_folder(kind)), KINDS[kind][1], f"{size / MEBIBYTE:.1f}")
    return table


def _size(folder: Path) -> int:
    """Bytes of all files; those that another process takes away meanwhile do not count."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _clear(kind: Kind) -> int:
    """Drop everything of a kind; gives how many things it was.

    Raises:
        OutputError: Something cannot be removed.
    """
    folder = cache_folder(kind)
    if kind == "engines":
        return EngineCache(folder).clear()
    dropped = 0
    for path in list(_made(folder)):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise output_error(path, error) from error
        dropped += path.suffix != ".data"
    return dropped


def _made(folder: Path) -> Iterator[Path]:
    """Everything in a folder but what another process may be making; after a day nobody is."""
    for path in folder.iterdir():
        with suppress(OSError):
            age_s = time.time() - path.lstat().st_mtime
            if not (path.name.startswith(".") or path.suffix == ".part") or age_s > SECONDS_PER_DAY:
                yield path
