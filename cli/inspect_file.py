"""``deblurrt inspect``: what a model file says of itself, and what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from ..core.engine_file import is_engine, open_engine
from ..export.onnx_report import OnnxReport, report_onnx
from ..runtime.shipped_models import find_model
from .engine_rows import contract_text, engine_rows
from .options import json_option
from .output import check_json_place, print_table, write_json
from .provenance_rows import calibration_told, weights_told

EXAMPLES = """\b
Examples:
  deblurrt inspect mine.onnx
  deblurrt inspect default --json -
  deblurrt inspect mine.engine"""


@click.command("inspect", epilog=EXAMPLES)
@click.argument("file")
@json_option
def inspect_command(file: str, json_place: str | None) -> int:
    """Show what FILE is: contract, tensors, operators, weights, precision, and what it needs to run.

    FILE is an ONNX file, a shipped name or an engine. Nothing is run and TensorRT is not needed; hashes
    of the file and of weights beside it are computed, and what is missing, changed or not whole ends
    with exit code 6.
    """
    check_json_place(json_place)
    if is_engine(file):
        engine = open_engine(Path(file))
        write_json(json_place, engine.manifest.to_dict())
        _print(engine_rows(engine), json_place)
        return 0
    report = report_onnx(find_model(file))
    write_json(json_place, report.to_dict())
    _print(_rows(report), json_place)
    report.check()
    return 0


def _print(rows: Iterable[tuple[str, str]], json_place: str | None) -> None:
    table = Table(show_header=False)
    for name, text in rows:
        # Text, since square brackets are markup elsewhere
        table.add_row(name, Text(text))
    print_table(table, json_place)


def _rows(report: OnnxReport) -> Iterator[tuple[str, str]]:
    file = report.file
    yield "file", f"{file.path}, {report.size_bytes:,} bytes"
    yield "SHA-256", report.sha256
    opsets = ", ".join(f"{domain} {number}" for domain, number in report.opsets.items())
    yield "format", f"IR {report.ir_version}; opsets: {opsets}"
    for spec in file.inputs:
        yield "input", f"{spec.name}: {spec.describe()}"
    for spec in file.outputs:
        yield "output", f"{spec.name}: {spec.describe()}"
    yield "contract", contract_text(file.contract)
    yield "operators", f"{sum(report.operators.values())}: {_counts(report.operators)}"
    for function in report.functions:
        yield "function", f"{function.name}: {_counts(function.operators)}"
    yield "parameters", f"{report.parameters:,}"
    yield "stored values", ", ".join(f"{kind} {count:,}" for kind, count in report.stored.items()) or "none"
    yield "MACs", _macs(report)
    yield "weights", _weights(report)
    calibration = calibration_told(file.provenance)
    if calibration is not None:
        yield "calibration", calibration
    yield "plugins", _plugins(report)
    if report.foreign:
        yield "foreign", f"{', '.join(report.foreign)}: only the runtime they come from has these"
    for data in report.external:
        about = data.problem or f"{data.size_bytes:,} bytes, SHA-256 {data.sha256}"
        yield "external data", f"{data.location}: {about}"


def _counts(operators: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in operators.items())


def _macs(report: OnnxReport) -> str:
    shares = ", ".join(f"{share:.1%} {precision}" for precision, share in report.mac_shares.items())
    return shares or "the file does not say"


def _weights(report: OnnxReport) -> str:
    told = weights_told(report.file.provenance)
    if report.has_random_weights:
        return f"RANDOM, never trained: {told}"
    return told or "the file does not say where they come from"


def _plugins(report: OnnxReport) -> str:
    if not report.plugins:
        return "none needed"
    uses = (
        f"{plugin.name} ({plugin.nodes} nodes, {'body inside' if plugin.has_body else 'no body'})"
        for plugin in report.plugins
    )
    runs = "runs only with the plugins" if report.needs_plugins else "runs without plugins too"
    return f"{', '.join(uses)}: {runs}"
