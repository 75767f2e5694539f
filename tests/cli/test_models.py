"""``deblurrt models``: the table of the zoo."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from deblurrt.models.zoo_facts import FACTS

Deblurrt = Callable[..., int]


@pytest.mark.parametrize("columns", ["40", "200"])
def test_table_names_every_network_whatever_the_terminal(
    deblurrt: Deblurrt, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert deblurrt("models") == 0
    shown = capsys.readouterr().out
    assert [facts.label for facts in FACTS if facts.label not in shown] == []
    assert "156,974,339" in shown
    assert "1,620 (673 folded)" in shown


def test_cost_follows_the_size(deblurrt: Deblurrt, capsys: pytest.CaptureFixture[str]) -> None:
    assert deblurrt("models", "--size", "360x640", "--json", "-") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["models"]}
    assert rows["wrcan"]["gmac"] == round((10_012_032 * 360 * 640 + 524_288) / 1e9, 3)
    assert (rows["edpn_sr"]["scale"], rows["kaist_net"]["halo_px"], rows["wrcan"]["halo_px"]) == (4, 253, "global")


@pytest.mark.parametrize("size", ["721x1280", "720", "0x10", "720,1280"])
def test_impossible_sizes_are_wrong_usage(deblurrt: Deblurrt, capsys: pytest.CaptureFixture[str], size: str) -> None:
    assert deblurrt("models", "--size", size) == 2
    assert size in capsys.readouterr().err


def test_light_install_lists_the_zoo() -> None:
    code = """
import sys
sys.modules.update(dict.fromkeys(["torch", "onnx", "onnxruntime", "av", "h5py", "safetensors"]))
sys.argv = ["deblurrt", "models", "--json", "-"]
from deblurrt.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["models"]) == len(FACTS)
