"""``deblurrt models``: the networks one can name."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from ..models.zoo_facts import FACTS, NetworkFacts
from .options import SIZE, json_option
from .output import check_json_place, print_table, write_json

EXAMPLES = """\b
Examples:
  deblurrt models
  deblurrt models --size 1080x1920
  deblurrt models --json -"""


@click.command("models", epilog=EXAMPLES)
@click.option("--size", type=SIZE, default="720x1280", show_default=True, help="Of the restored picture.")
@json_option
def models_command(size: tuple[int, int], json_place: str | None) -> int:
    """List every network: task, frames, scale, parameters, cost, halo, source, and whether its weights ship.

    GMAC are thousand million multiply-accumulates for one restored picture of --size.
    """
    check_json_place(json_place)
    write_json(json_place, {"size": list(size), "models": [_row(facts, size) for facts in FACTS]})
    table = Table(
        "model", "task", "frames", "scale", "parameters", f"GMAC {size[0]}x{size[1]}", "halo px", "weights", "source"
    )
    for facts in FACTS:
        row = _row(facts, size)
        folded = f" ({row['folded_gmac']:,.0f} folded)" if row["folded_gmac"] is not None else ""
        figures = (f"{row['parameters']:,}", f"{row['gmac']:,.0f}{folded}", str(row["halo_px"]))
        weights = "ship" if facts.ships else "yours"
        table.add_row(facts.label, row["task"], str(row["window"]), f"x{row['scale']}", *figures, weights, facts.source)
    print_table(table, json_place)
    return 0


def _row(facts: NetworkFacts, size: tuple[int, int]) -> dict[str, Any]:
    contract, folded = facts.contract, facts.folded_gmac(*size)
    return {
        "name": facts.name,
        "options": facts.options,
        "task": contract.task,
        "window": contract.window,
        "scale": contract.scale,
        "multiple": contract.multiple,
        "parameters": facts.parameters,
        "gmac": round(facts.gmac(*size), 3),
        "folded_gmac": None if folded is None else round(folded, 3),
        "halo_px": contract.halo_px,
        "ships": facts.ships,
        "source": facts.source,
    }
