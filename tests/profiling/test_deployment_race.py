"""Deployment graphs against NumPy around the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from deblurrt.profiling import deployment_race
from deblurrt.profiling.deployment_race import INSIDE, deployment_results
from deblurrt.profiling.races import RacePlan
from deblurrt.profiling.zoo_section import deployment_table


def test_shipped_model_gives_the_same_bytes_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment_race, "LARGEST", (45, 80))
    results = deployment_results(RacePlan(tmp_path, rounds=1), variants=())
    assert [(result.label, result.runtime) for result in results] == [
        ("default", "ONNX Runtime"),
        ("default", "OpenVINO"),
    ]
    for result in results:
        assert result.race.differences[INSIDE] <= 1
        assert (result.race.failures, result.race.missing) == ({}, {})
    lines = deployment_table(results).splitlines()
    assert lines[0] == "| network | runtime | size | NumPy around the float graph, ms | deployment graph |"
    assert lines[2].startswith("| `default` | ONNX Runtime | 45x80 | ")
