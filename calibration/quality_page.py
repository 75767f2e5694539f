"""The report of a quantisation as a page that opens offline, with pictures of the worst frames, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..core.outputs import output_error, write_whole
from ..core.pictures import Pixels, write_picture
from .budget_search import Trial
from .quantization import Quantization
from .quantize_report import QuantizeReport

#: how many times differences are amplified, so that one grey level shows
AMPLIFIED = 16
#: frames that are shown
WORST_FRAMES = 3
#: name of the page and of the values behind it
PAGE, VALUES = "index.html", "report.json"

#: characters above which a name may break anywhere, so that the columns behind it are seen
LONG_NAME = 40

STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}
td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left}
td.long{overflow-wrap:anywhere;min-width:20rem}
td.n{text-align:right;font-variant-numeric:tabular-nums}figure{display:inline-block;margin:.3rem;width:46%}
img{width:100%}caption{text-align:left;font-weight:600}.hash{font-family:monospace;overflow-wrap:anywhere}"""

#: digits behind the point of what is told of a frame
DECIMALS = {
    "lost_db": 3,
    "psnr_float_db": 3,
    "psnr_db": 3,
    "ssim_float": 4,
    "ssim": 4,
    "edges_float": 2,
    "edges": 2,
}


class Number(str):
    """A number in the form it is shown in."""

    __slots__ = ()


def write_quality_page(found: QuantizeReport, work: Quantization, folder: Path, model: str) -> None:
    """Write ``index.html``, ``report.json`` and pictures of the worst frames.

    Args:
        found: What is reported.
        work: The quantisation, which still has its held-out frames.
        folder: Where to; made if it is missing.
        model: Name for the title.

    Raises:
        OutputError: The folder cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    shown = []
    for rank, pictures in enumerate(work.worst_frames(WORST_FRAMES)):
        files = {}
        for what, pixels in _views(pictures.pixels, pictures.before, pictures.after).items():
            files[what] = f"frame{rank}_{what}.png"
            write_picture(folder / files[what], pixels)
        shown.append((_headline(found, pictures.name), files))
    write_whole(folder / VALUES, (json.dumps({"model": model, **found.to_dict()}, indent=2) + "\n").encode())
    write_whole(folder / PAGE, _page(found, model, shown).encode())


def _headline(found: QuantizeReport, name: str) -> str:
    frames = found.quality.frames if found.quality else ()
    lost = next((f": {frame.lost_db:.3f} dB lost" for frame in frames if frame.name == name), "")
    return f"{name}{lost}"


def _views(pixels: Pixels, before: Pixels, after: Pixels) -> dict[str, Pixels]:
    difference = np.abs(before.astype(np.int16) - after) * AMPLIFIED
    return {
        "input": pixels,
        "float": before,
        "quantized": after,
        "difference": np.clip(difference, 0, 255).astype(np.uint8),
    }


def _page(found: QuantizeReport, model: str, shown: Sequence[tuple[str, dict[str, str]]]) -> str:
    title = f"{Path(model).name} in {found.config.format}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _summary(found),
        *_quality_tables(found),
        _trials(found),
        *_pictures(shown),
        _decisions(found),
        _calibration(found),
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style>{''.join(parts)}</html>\n"
    )


def _summary(found: QuantizeReport) -> str:
    quality = found.quality
    lost = "no frame was held out"
    if quality is not None:
        lost = f"{quality.lost_db:.3f} dB lost on {len(quality.frames)} held-out frames, against {quality.against}"
    noted = [*found.notes, *(["the time limit ended the search for the budget"] if found.is_cut_short else [])]
    notes = "".join(f"<li>{escape(note)}</li>" for note in noted)
    told = f"{lost}, {found.share:.1%} of the multiply-accumulates in {found.config.format}"
    head = f"<b>{told}</b>, the rest in {found.config.rest}"
    if found.refusal is not None:
        head = f"<b>No file was written: {escape(found.refusal)}</b>"
    return f"<p>{head}; for {found.config.target}, ranges by {found.config.method}.</p><ul>{notes}</ul>"


def _quality_tables(found: QuantizeReport) -> Iterable[str]:
    quality = found.quality
    if quality is None:
        return
    columns = (*DECIMALS, "mse")
    rows = [[frame.name, *(_told(name, getattr(frame, name)) for name in columns)] for frame in quality.frames]
    rows.append(["mean", *(_told(name, quality.mean(name)) for name in columns)])
    head = ("frame", "dB lost", "PSNR float", "PSNR", "SSIM float", "SSIM", "edges float", "edges", "squared error")
    yield _table(
        "Held-out frames; edges are the mean steepness of the float result's edges, in grey levels", head, rows
    )


def _told(column: str, value: float | None) -> Any:
    """Value of a column with its decimals; others are left to the cell."""
    return value if value is None or column not in DECIMALS else Number(f"{value:.{DECIMALS[column]}f}")


def _marks(found: QuantizeReport, trial: Trial) -> tuple[str, str]:
    return "yes" if trial.is_best else "", "yes" if found.is_taken(trial) else ""


def _trials(found: QuantizeReport) -> str:
    rows = [
        [
            _told("lost_db", trial.lost_db),
            f"{trial.share:.1%}",
            f"{trial.saving:.1%}",
            len(trial.chosen),
            *_marks(found, trial),
        ]
        for trial in found.trials
    ]
    head = ("dB lost", "products in 8 bits", "estimated saving", "layers", "none is better in both", "taken")
    told = "Sets of layers that were measured; the saving is bits times multiply-accumulates"
    return _table(told, head, rows) if rows else ""


def _pictures(shown: Sequence[tuple[str, dict[str, str]]]) -> Iterable[str]:
    for name, files in shown:
        yield f"<h2>{escape(name)}</h2>"
        for what, file in files.items():
            text = f"difference, {AMPLIFIED} times" if what == "difference" else what
            yield f'<figure><img src="{escape(file)}" alt="{escape(text)}"><figcaption>{text}</figcaption></figure>'


def _decisions(found: QuantizeReport) -> str:
    total = max(sum(site.macs for site in found.sites), 1)
    rows = [
        [
            site.name,
            site.operator,
            site.module,
            found.config.format if site.name in found.chosen else "float",
            f"{site.macs / total:.2%}" if site.macs else "",
            found.errors.get(site.name),
            found.signal_db.get(site.name),
            found.reason(site),
        ]
        for site in found.sites
    ]
    head = ("node", "operator", "module", "computes in", "products", "error alone", "signal/error dB", "why")
    return _table("Layers, error alone as squared error of the picture when no other is quantised", head, rows)


def _calibration(found: QuantizeReport) -> str:
    names = ", ".join(escape(name) for name in found.key.names)
    mark = f"<p><b>Frames of the {escape(found.key.test_split)} split.</b></p>" if found.key.test_split else ""
    count = len(found.key.names)
    digest = f'<p>SHA-256 of names and pixels: <span class="hash">{found.key.frames_sha256}</span></p>'
    return f"<h2>Calibrated on {count} frames</h2>{mark}{digest}<p>{names}</p>"


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns in which no row says anything are left out."""
    kept = [place for place in range(len(head)) if any(row[place] not in (None, "") for row in rows)]
    heads = "".join(f"<th>{escape(head[place])}</th>" for place in kept)
    lines = "".join("<tr>" + "".join(_cell(row[place]) for place in kept) + "</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><tr>{heads}</tr>{lines}</table>"


def _cell(value: Any) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, float):
        return f'<td class="n">{value:.4g}</td>'
    text = str(value)
    is_long = max(map(len, text.split()), default=0) > LONG_NAME
    kind = "n" if isinstance(value, (int, Number)) else "long" if is_long else ""
    given = f' class="{kind}"' if kind else ""
    return f"<td{given}>{escape(text)}</td>"
