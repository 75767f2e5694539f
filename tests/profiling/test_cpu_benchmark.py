"""The arithmetic and the form of the benchmark; speeds are never asserted."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

from deblurrt.profiling import cpu_benchmark
from deblurrt.profiling.cpu_benchmark import Row, in_turn, median_ratio, table


def test_contestants_take_turns() -> None:
    order: list[str] = []

    def contestant(name: str) -> float:
        order.append(name)
        return 1.0

    times = in_turn({"a": lambda: contestant("a"), "b": lambda: contestant("b")}, rounds=2)
    assert order == ["a", "b", "a", "b"]
    assert times == {"a": [1.0, 1.0], "b": [1.0, 1.0]}


def test_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    assert median_ratio([2.0, 10.0, 9.0], [1.0, 2.0, 3.0]) == 3.0


def test_table_is_markdown() -> None:
    lines = table("Speed", [Row("network", "5 fps", "1.00x", "0.9x")]).splitlines()
    assert lines == [
        "## Speed",
        "",
        "| | measured | ratio | aim |",
        "|---|---|---|---|",
        "| network | 5 fps | 1.00x | 0.9x |",
    ]


def test_benchmark_writes_every_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small numbers everywhere: what counts is that each part runs and reports."""
    clip, output = tmp_path / "clip.mp4", tmp_path / "benchmarks.md"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    for name, value in {"SIZE": (48, 64), "MEMORY_SIZE": (16, 16), "MODELS": ("fast",), "IMPORT_RUNS": 1}.items():
        monkeypatch.setattr(cpu_benchmark, name, value)
    options = ["--clip", str(clip), "--output", str(output), "--threads", "1", "--rounds", "1", "--frames", "2"]
    done = CliRunner().invoke(cpu_benchmark.main, options, catch_exceptions=False)
    assert done.exit_code == 0
    titles = [line for line in output.read_text().splitlines() if line.startswith("## ")]
    assert titles == [
        "## `fast`: the network alone at 720p (ratio to PyTorch)",
        "## `fast`: from file to file at 720p",
        "## Start and memory",
    ]
