"""``deblurrt doctor``: its table, its findings, its JSON and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deblurrt.cli import doctor
from deblurrt.core.machine import Machine, probe_machine
from deblurrt.profiling.diagnosis import AREAS
from tests.machines import DESKTOP, composed_orin_jetpack_6, composed_thor_jetpack_7

Deblurrt = Callable[..., int]
MACHINES: dict[str, Callable[[Path], Machine]] = {
    "desktop": lambda root: DESKTOP,
    "Orin": lambda root: probe_machine(composed_orin_jetpack_6(root)),
    "Orin with pip": lambda root: probe_machine(composed_orin_jetpack_6(root, {"tensorrt-cu12-libs": "10.9.0"})),
    "Thor": lambda root: probe_machine(composed_thor_jetpack_7(root)),
}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_this_machine_is_examined(deblurrt: Deblurrt, capsys: pytest.CaptureFixture[str]) -> None:
    status = deblurrt("doctor")
    shown = capsys.readouterr().out
    assert status == (5 if "X BROKEN" in shown else 0)
    assert [area for area in AREAS if area not in shown] == []


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("desktop", 0, ["No known trap applies."]),
        ("Orin", 0, ["JetPack 6.2.1", "Orin (nvgpu) (8.7", "i note: old-onnxruntime"]),
        (
            "Orin with pip",
            5,
            ["X BROKEN: pip-tensorrt-on-jetson", "remedy    pip uninstall --yes tensorrt tensorrt-cu12"],
        ),
        ("Thor", 0, ["JetPack 7.0", "NVIDIA Thor (11.0", "! warning: missing-cuda-bindings"]),
    ],
)
def test_status_and_words_follow_the_machine(
    deblurrt: Deblurrt,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    status: int,
    words: list[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    machine = MACHINES[name](tmp_path)
    monkeypatch.setattr(doctor, "probe_machine", lambda: machine)
    assert deblurrt("doctor") == status
    shown = capsys.readouterr().out
    assert [word for word in words if word not in shown] == []


def test_remedy_stays_on_one_line_to_be_copied(
    deblurrt: Deblurrt, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    machine = MACHINES["Orin with pip"](tmp_path)
    monkeypatch.setattr(doctor, "probe_machine", lambda: machine)
    deblurrt("doctor")
    remedy = "pip uninstall --yes tensorrt tensorrt-cu12-libs && sudo apt install --reinstall python3-libnvinfer"
    assert f"  remedy    {remedy}\n" in capsys.readouterr().out


def test_json_goes_to_a_file_and_broken_machines_write_it_too(
    deblurrt: Deblurrt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = MACHINES["Orin with pip"](tmp_path)
    monkeypatch.setattr(doctor, "probe_machine", lambda: machine)
    place = tmp_path / "machine.json"
    assert deblurrt("doctor", "--json", place) == 5
    told = json.loads(place.read_text())
    assert told["broken"] is True
    assert told["findings"][0]["trap"] == "pip-tensorrt-on-jetson"


def test_json_on_standard_output_stands_alone(
    deblurrt: Deblurrt, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "probe_machine", lambda: DESKTOP)
    assert deblurrt("doctor", "--json", "-") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["machine"]["gpu"]["driver"] == "580.65.06"
    assert "No known trap applies." in captured.err


def test_place_without_a_folder_is_refused_before_anything_is_examined(
    deblurrt: Deblurrt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "probe_machine", lambda: pytest.fail("examined"))
    assert deblurrt("doctor", "--json", tmp_path / "missing" / "machine.json") == 7


def test_help_tells_the_statuses_and_examples(deblurrt: Deblurrt, capsys: pytest.CaptureFixture[str]) -> None:
    assert deblurrt("doctor", "--help") == 0
    shown = capsys.readouterr().out
    assert "deblurrt doctor --json -" in shown
    assert "5  broken" in shown


def run_without(*packages: str) -> subprocess.CompletedProcess[str]:
    """Run the command where neither these packages' modules nor their records are to be found."""
    code = """
import importlib.metadata, sys
gone = sys.argv[1:]
sys.modules.update(dict.fromkeys(gone))
every = importlib.metadata.distributions
importlib.metadata.distributions = lambda: [entry for entry in every() if entry.metadata["Name"] not in gone]
sys.argv = ["deblurrt", "doctor", "--json", "-"]
from deblurrt.cli.main import main
main()
"""
    return subprocess.run([sys.executable, "-c", code, *packages], capture_output=True, text=True, check=False)


def test_environment_without_onnxruntime_is_broken() -> None:
    done = run_without("onnxruntime")
    assert done.returncode == 5, done.stderr
    broken = [entry["trap"] for entry in json.loads(done.stdout)["findings"] if entry["severity"] == "broken"]
    assert "missing-onnxruntime" in broken


def test_environment_without_anything_else_still_has_a_doctor() -> None:
    done = run_without("numpy", "onnx", "onnxruntime", "av", "torch", "openvino")
    assert done.returncode == 5, done.stderr
    traps = {entry["trap"] for entry in json.loads(done.stdout)["findings"]}
    assert {"missing-base", "missing-onnxruntime", "missing-torch"} <= traps
