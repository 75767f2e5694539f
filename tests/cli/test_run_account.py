"""What a run writes about what it rests on, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deblurrt.runtime.run_facts import hash_of_model

from .conftest import FRAMES

Deblurrt = Callable[..., int]
RUN = ("run", "--backend", "onnxruntime", "--threads", "1", "--model", "identity")


def account_of(deblurrt: Deblurrt, arguments: tuple[object, ...], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert deblurrt(*RUN, *arguments, "--json", "-") == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


@pytest.mark.parametrize("live", [(), ("--deadline-ms", 5000)], ids=["file", "live"])
def test_account_names_network_settings_machine_and_what_was_not_measured(
    live: tuple[object, ...], deblurrt: Deblurrt, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    account = account_of(deblurrt, (clip, tmp_path / "out.mkv", *live), capsys)
    (model,) = account["models"]
    assert (model["model"], model["sha256"]) == ("identity", hash_of_model("identity"))
    assert model["sha256"]
    assert model["backend"] == account["backend"]
    assert (account["settings"]["threads"], account["settings"]["backend"]) == (1, "onnxruntime")
    assert account["machine"]["processor"]
    assert account["versions"]["deblurrt"]
    energy = account["energy_j_per_frame"]
    assert energy["rails"] or energy["unavailable"]
    assert energy["gross"] is None or energy["gross"] > 0
    assert {"start", "end", "unavailable"} <= set(account["thermal"])
    latency = account["latency_ms"]
    assert latency["count"] == FRAMES
    assert (latency["p50"] is None) == (FRAMES < 20)
    assert latency["p99"] is None


def test_percentiles_of_few_frames_are_said_to_be_of_few(
    deblurrt: Deblurrt, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt(*RUN, clip, tmp_path / "out.mkv", "--deadline-ms", 5000) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert f"n too small ({FRAMES} frames)" in told
    assert "% late" in told
    assert "energy per frame" in told
