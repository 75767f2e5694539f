"""Model files that someone edited: one line and exit code 6 from every verb, never a trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from deblurrt.core.artifacts import CONTRACT_KEY, PROVENANCE_KEY, SUMMARY_KEY, write_onnx
from tests.export.float_networks import contract_of, export

Deblurrt = Callable[..., int]
Shown = pytest.CaptureFixture[str]

#: deeper than Python's stack, and longer than it reads numbers
BRACKETS, DIGITS = "[" * 200_000, "9" * 5000


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return export(contract_of(), io="float")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_entry(model: onnx.ModelProto, key: str, text: str) -> onnx.ModelProto:
    edited = onnx.ModelProto()
    edited.CopyFrom(model)
    next(entry for entry in edited.metadata_props if entry.key == key).value = text
    return edited


def with_weights_at(model: onnx.ModelProto, data_type: int = 1, **entries: str) -> onnx.ModelProto:
    edited = onnx.ModelProto()
    edited.CopyFrom(model)
    tensor = edited.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_type, tensor.data_location = data_type, onnx.TensorProto.EXTERNAL
    for key, text in entries.items():
        tensor.external_data.add(key=key, value=text)
    return edited


def runs(deblurrt: Deblurrt, shown: Shown) -> dict[str, tuple[int, str]]:
    """Verb -> exit code and the error."""
    commands = {
        "inspect": ("inspect", "e.onnx"),
        "compare": ("compare", "e.onnx", "e.onnx", "--size", "16x16"),
        "export": ("export", "e.onnx", "-o", "a.onnx"),
    }
    found = {}
    for verb, command in commands.items():
        code = deblurrt(*command)
        errors = [line for line in shown.readouterr().err.splitlines() if line.startswith("error: ")]
        found[verb] = (code, "".join(errors))
        assert len(errors) == (code != 0)
        assert all(len(error) < 400 for error in errors)
    return found


@pytest.mark.parametrize(
    "text",
    [
        '{"multiple": 1000000000000}',
        '{"min_size": 16385}',
        '{"multiple": 1' + "0" * 5000 + "}",
        '{"multiple": 1' + "0" * 4000 + "}",
        '{"task": "' + "a" * 5000 + '"}',
        '{"halo_px": [1]}',
        BRACKETS,
    ],
    ids=["multiple", "min_size", "no number", "long number", "task", "halo", "deep"],
)
def test_impossible_contract_is_refused(
    deblurrt: Deblurrt, model: onnx.ModelProto, place: Path, capsys: Shown, text: str
) -> None:
    (place / "e.onnx").write_bytes(with_entry(model, CONTRACT_KEY, text).SerializeToString())
    for code, error in runs(deblurrt, capsys).values():
        assert code == 6
        assert "e.onnx: " in error


@pytest.mark.parametrize("key", [PROVENANCE_KEY, SUMMARY_KEY])
@pytest.mark.parametrize(
    "text",
    [BRACKETS, f'{{"parameters": {DIGITS}}}', '{"macs": {"fp32": 1e999, "fp16": -1}, "parameters": -5}'],
    ids=["deep", "long number", "infinite"],
)
def test_unreadable_facts_are_none(
    deblurrt: Deblurrt, model: onnx.ModelProto, place: Path, capsys: Shown, key: str, text: str
) -> None:
    (place / "e.onnx").write_bytes(with_entry(model, key, text).SerializeToString())
    assert {code for code, _ in runs(deblurrt, capsys).values()} == {0}


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({"location": "a\0b"}, "has a name that no file can have"),
        ({"location": "a" * 5000}, "has a name that no file can have"),
        ({"location": "w.bin", "offset": "-5"}, "has weights at '-5', '0' long, expected numbers of bytes"),
        ({"location": "w.bin", "length": "9" * 6000}, "long, expected numbers of bytes"),
        ({"location": "w.bin", "length": "9" * 18}, "has 4 bytes, at least 999999999999999999 are needed"),
        ({"location": "none.bin", "data_type": 99}, "is missing"),
    ],
    ids=["zero byte", "long name", "negative", "digits", "large", "type"],
)
def test_impossible_place_of_weights_is_refused(
    deblurrt: Deblurrt, model: onnx.ModelProto, place: Path, capsys: Shown, entries: dict[str, Any], problem: str
) -> None:
    (place / "w.bin").write_bytes(b"1234")
    (place / "e.onnx").write_bytes(with_weights_at(model, **entries).SerializeToString())
    for code, error in runs(deblurrt, capsys).values():
        assert code == 6
        assert problem in error


def test_operator_of_an_unknown_domain_is_refused_where_it_would_run(
    deblurrt: Deblurrt, model: onnx.ModelProto, place: Path, capsys: Shown
) -> None:
    edited = onnx.ModelProto()
    edited.CopyFrom(model)
    node = next(node for node in edited.graph.node if node.op_type == "Relu")
    node.op_type, node.domain = "Frobnicate", "acme"
    edited.opset_import.add(domain="acme", version=1)
    write_onnx(edited, place / "e.onnx")
    found = runs(deblurrt, capsys)
    assert [found[verb][0] for verb in ("inspect", "compare", "export")] == [0, 6, 6]
    assert "e.onnx has the operator Frobnicate of acme, which ONNX Runtime does not know" in found["compare"][1]
    assert "Frobnicate" in found["export"][1]
