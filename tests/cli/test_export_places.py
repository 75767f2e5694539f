"""``deblurrt export``: what is never replaced, and what is written when something fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deblurrt.core.artifacts import write_onnx
from deblurrt.core.errors import OutputError
from tests.export.float_networks import contract_of, export

Deblurrt = Callable[..., int]
Shown = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a file of a small network in float32."""
    write_onnx(export(contract_of(multiple=2)), tmp_path / "small.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "-o and MODEL are both small.onnx; give -o another name"),
        (("-o", "../{folder}/small.onnx"), "-o and MODEL are both"),
        (("-o", "a.onnx", "--report", "small.onnx"), "--report and MODEL are both small.onnx"),
        (("-o", "a.onnx", "--report", "./a.onnx"), "--report and -o are both a.onnx"),
        (("-o", "a.onnx", "--report", "r", "--precision-report", "r"), "--precision-report and --report are both r"),
        (("-o", "a.onnx", "--json", "a.onnx"), "--json and -o are both a.onnx"),
    ],
)
def test_one_file_is_not_two(
    deblurrt: Deblurrt, folder: Path, capsys: Shown, options: tuple[str, ...], message: str
) -> None:
    before = contents(folder)
    places = [option.format(folder=folder.name) for option in options]
    assert deblurrt("export", "small.onnx", "--force", "--precision", "fp16", *places) == 2
    assert message in capsys.readouterr().err
    assert contents(folder) == before


@pytest.mark.parametrize("option", ["--report", "--precision-report"])
def test_reports_replace_nothing_without_force(deblurrt: Deblurrt, folder: Path, option: str) -> None:
    (folder / "mine.json").write_text("mine")
    command = ("export", "small.onnx", "-o", "a.onnx", "--precision", "fp16", option, "mine.json")
    before = contents(folder)
    assert deblurrt(*command) == 7
    assert contents(folder) == before
    assert deblurrt(*command, "--force") == 0
    assert json.loads((folder / "mine.json").read_text())


def test_report_that_cannot_be_written_does_not_hide_what_failed(
    deblurrt: Deblurrt,
    folder: Path,
    capsys: Shown,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(path: Path, _data: bytes) -> None:
        raise OutputError(f"disk full while writing {path}")

    monkeypatch.setattr("deblurrt.cli.export.write_whole", full)
    monkeypatch.setattr("deblurrt.export.graph_export.DYNAMIC_PASSES", (lambda model: 1 / 0,))
    with pytest.raises(ZeroDivisionError):
        deblurrt("export", "small.onnx", "-o", "a.onnx", "--report", "r.json")
    assert "disk full while writing r.json" in caplog.text
    assert "disk full" not in capsys.readouterr().err


@pytest.mark.parametrize(("options", "why"), [((), "every node of the file is fp32"), (("--precision", "fp16"), "")])
def test_report_of_precision_needs_half_precision(
    deblurrt: Deblurrt, folder: Path, capsys: Shown, options: tuple[str, ...], why: str
) -> None:
    code = deblurrt("export", "small.onnx", "-o", "half.onnx", "--precision-report", "p.json", *options)
    assert code == (2 if why else 0)
    assert (folder / "p.json").exists() == (not why)
    if why:
        assert f"--precision-report has nothing to write: {why}; leave it out" in capsys.readouterr().err
        return
    capsys.readouterr()
    assert deblurrt("export", "half.onnx", "-o", "b.onnx", "--precision-report", "q.json") == 2
    assert "half.onnx is in fp16 already" in capsys.readouterr().err


def test_bf16_for_onnxruntime_is_refused(deblurrt: Deblurrt, folder: Path, capsys: Shown) -> None:
    assert deblurrt("export", "small.onnx", "-o", "a.onnx", "--precision", "bf16", "--target", "ort") == 2
    assert "ONNX Runtime has no bf16 convolutions on the CPU" in capsys.readouterr().err
    assert not (folder / "a.onnx").exists()
