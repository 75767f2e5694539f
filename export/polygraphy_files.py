"""Frames and reference results in Polygraphy's own files, so that it can repeat a comparison on another machine.

polygraphy run m.onnx --trt --load-inputs frames.json --load-outputs reference.json --abs 1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.optional import require
from ..core.outputs import write_whole
from ..core.tensors import Array

Feeds = Sequence[Mapping[str, Array]]


def save_inputs(feeds: Feeds, path: Path) -> None:
    """Write what ``polygraphy run --load-inputs`` reads; an older file is replaced.

    Args:
        feeds: Arrays by input name, one entry per run.
        path: Where the file goes.

    Raises:
        MissingExtraError: Polygraphy is not installed.
        OutputError: The file cannot be written.
    """
    to_json = require("polygraphy.json", purpose="write its input files").to_json
    write_whole(path, to_json([dict(feed) for feed in feeds]).encode())


def save_outputs(results: Feeds, runner: str, path: Path) -> None:
    """Write what ``polygraphy run --load-outputs`` compares with; an older file is replaced.

    Args:
        results: Arrays by output name, one entry per run.
        runner: What gave them, for reports.
        path: Where the file goes.

    Raises:
        MissingExtraError: Polygraphy is not installed.
        OutputError: The file cannot be written.
    """
    comparator = require("polygraphy.comparator", purpose="write its result files")
    iterations = [comparator.IterationResult(dict(result), runner_name=runner) for result in results]
    run_results = comparator.RunResults([(runner, iterations)])
    write_whole(path, require("polygraphy.json", purpose="write its result files").to_json(run_results).encode())
