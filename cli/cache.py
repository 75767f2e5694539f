"""``deblurrt cache``: engines that were built before."""

from __future__ import annotations

import time

import click
from rich.table import Table

from ..core.caches import cache_folder
from ..engines.engine_cache import CachedEngine, EngineCache
from .options import json_option
from .output import check_json_place, print_table, terminal, write_json

EXAMPLES = """\b
Examples:
  deblurrt cache list
  deblurrt cache prune --max-size 10
  rm -r "$(deblurrt cache path)"      the same as deblurrt cache clear"""

GIBIBYTE, MEBIBYTE = 1 << 30, 1 << 20
#: GiB of engines that stay when nothing else is asked for
DEFAULT_GIB = 20.0
SECONDS_PER_DAY = 86400


@click.command("cache", epilog=EXAMPLES)
@click.argument("action", type=click.Choice(["list", "prune", "clear", "path"]))
@click.option(
    "--max-size", type=float, default=DEFAULT_GIB, show_default=True, metavar="GIB", help="What prune leaves."
)
@json_option
def cache_command(action: str, max_size: float, json_place: str | None) -> int:
    """List the engines that were built before, or drop the ones used longest ago, or all.

    An engine is found again only when everything that decides it is the same: the ONNX file, the
    builder and its version, GPU and driver, sizes and options.
    """
    check_json_place(json_place)
    folder = cache_folder("engines")
    cache = EngineCache(folder)
    if action == "path":
        click.echo(folder)
        return 0
    if action == "clear":
        terminal().print(f"dropped {cache.clear()} engines", highlight=False)
        return 0
    if action == "prune":
        dropped = cache.prune(int(max_size * GIBIBYTE))
        terminal().print(f"dropped {len(dropped)} engines", highlight=False)
    entries = cache.entries()
    write_json(json_place, {"path": str(folder), "engines": [_facts(entry) for entry in entries]})
    print_table(_table(entries), json_place)
    return 0


def _facts(entry: CachedEngine) -> dict[str, object]:
    return {"plan": str(entry.plan), "bytes": entry.size_bytes, "used": entry.used, **entry.manifest.to_dict()}


def _table(entries: list[CachedEngine]) -> Table:
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
            "/".join(dict.fromkeys(f"{height}x{width}" for height, width in manifest.shapes)),
            precision,
            f"{entry.size_bytes / MEBIBYTE:.1f}",
            f"{days:.1f} days ago",
        )
    return table
