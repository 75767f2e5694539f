"""Tables of what 8 bits cost and save, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .ratios import Ratio, markdown_table

Row = Mapping[str, Any]


def shipped_text(rows: Sequence[Row]) -> str:
    """What the shipped networks lose."""
    cells = []
    for row in rows:
        others = row["others"]
        cells.append(
            [
                row["network"],
                row["target"],
                f"{row['share']:.1%}",
                _decibels(row["held_out_lost_db"]),
                f"{others['psnr_float_db']:.3f}",
                _decibels(others["lost_db"]),
                f"{others['ssim_float'] - others['ssim']:.4f}",
                f"{others['edges'] / others['edges_float'] - 1:+.1%}",
                " → ".join(f"{size / 2**20:.2f}" for size in row["bytes"]),
            ]
        )
    columns = (
        *("network", "target", "products in INT8", "dB lost, held out", "float on the others, dB"),
        *("dB lost on the others", "SSIM lost", "edges", "MiB"),
    )
    return markdown_table(columns, cells)


def speed_text(rows: Sequence[Row]) -> str:
    """How much faster 8 bits are, as ratios within one run."""
    cells = [
        [
            row["network"],
            row["backend"],
            row["threads"],
            *(str(Ratio(**row["ratios"][target])) for target in ("openvino", "onnxruntime", "tensorrt")),
        ]
        for row in rows
    ]
    columns = ("network", "backend", "threads", "for openvino", "for onnxruntime", "for tensorrt")
    return markdown_table(columns, cells)


def zoo_text(rows: Sequence[Row]) -> str:
    """What reduced networks of the zoo lose, by method and placement, and what their engines compute in."""
    methods, placements = (list(dict.fromkeys(key for row in rows for key in row.get(part, {}))) for part in PARTS)
    cells = []
    for row in rows:
        if "error" in row:
            cells.append([row["network"], row["error"], *[""] * (len(methods) + len(placements) + 1)])
            continue
        cells.append(
            [
                row["network"],
                *(_loss(row["methods"][method]) for method in methods),
                *(_loss(row["placements"][placement]) for placement in placements),
                _reported(row.get("report")),
                _label(row["engine"]),
            ]
        )
    return markdown_table(("network", *methods, *placements, "as the command does", "engine"), cells)


PARTS = ("methods", "placements")
#: what a search says that had too little time to find anything
TIME_OVER = "the time limit ended the search"


def modelopt_text(rows: Sequence[Row]) -> str:
    """Files of modelopt beside ours: what they lose, what they cost, what TensorRT-RTX makes of them."""
    cells = []
    for row in rows:
        known = [row["network"], row.get("tool", ""), row.get("method", "")]
        cost = [f"{row['cpu_seconds']:.0f}", f"{row['peak_mib']:.0f}"] if "peak_mib" in row else ["", ""]
        if "error" in row:
            cells.append([*known, f"failed: {_in_cell(row['error'])}", "", *cost, ""])
            continue
        cells.append([*known, _decibels(row["lost_db"]), f"{row['share']:.1%}", *cost, _label(row["engine"])])
    columns = ("network", "tool", "method", "dB lost", "products in INT8", "processor s", "MiB", "engine")
    return markdown_table(columns, cells)


def _reported(told: Row | None) -> str:
    if not told:
        return "not measured"
    return f"failed: {_in_cell(told['error'])}" if "error" in told else _loss(told)


def _label(engine: Row) -> str:
    if "error" in engine:
        return f"does not build: {_in_cell(engine['error'])}"
    return ", ".join(f"{share:.0%} {dtype}" for dtype, share in engine["shares"].items())


def _in_cell(text: str) -> str:
    """Text that breaks no row of a table."""
    return " ".join(text.replace("|", "/").split())[:160]


def _loss(told: Row) -> str:
    if "error" in told:
        return "time was over" if TIME_OVER in told["error"] else "refused"
    return f"{_decibels(told['lost_db'])} dB, {told['share']:.0%}"


def _decibels(value: float) -> str:
    """Three digits; what rounds to nothing has no sign."""
    return f"{round(value, 3) + 0.0:.3f}"
