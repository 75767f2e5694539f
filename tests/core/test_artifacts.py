from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from deblurrt.core.artifacts import CONTRACT_KEY, PROVENANCE_KEY, SUMMARY_KEY, open_onnx, write_onnx
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import ModelFileError, OutputError
from deblurrt.core.tensors import TensorSpec
from tests.tiny_graphs import BYTES, FLOATS, value, write_conv, write_graph, write_identity


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """A model in memory; the place it was written to is empty again."""
    path = write_identity(tmp_path / "identity.onnx", FrameContract(halo_px=0))
    loaded = onnx.load(path)
    path.unlink()
    return loaded


def test_opened_file_says_what_it_takes_gives_and_needs(tmp_path: Path) -> None:
    contract = FrameContract(multiple=4, min_size=4, halo_px=1, io="float")
    opened = open_onnx(write_conv(tmp_path / "conv.onnx", np.zeros((3, 3, 3, 3), np.float32), contract))
    assert opened.inputs == (TensorSpec("frames", "float32", ("batch", 3, "height", "width")),)
    assert opened.outputs == (TensorSpec("restored", "float32", ("batch", 3, "height", "width")),)
    assert opened.contract == contract
    assert opened.metadata == {CONTRACT_KEY: contract.to_json()}


def test_file_without_contract_opens_and_has_none(tmp_path: Path) -> None:
    opened = open_onnx(write_identity(tmp_path / "bare.onnx"))
    assert opened.contract is None
    assert opened.provenance == {}
    assert opened.summary == {}


def test_provenance_and_summary_are_read_from_the_metadata(model: Any, tmp_path: Path) -> None:
    helper.set_model_props(model, {PROVENANCE_KEY: '{"recipe": "student-s"}', SUMMARY_KEY: "not JSON"})
    opened = write_onnx(model, tmp_path / "model.onnx")
    assert opened.provenance == {"recipe": "student-s"}
    assert opened.summary == {}


def test_initializers_listed_as_inputs_are_not_inputs(tmp_path: Path) -> None:
    kernel = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "offset")
    node = helper.make_node("Add", ["frames", "offset"], ["restored"])
    taken = [value("frames", FLOATS, ["n", 3]), value("offset", FLOATS, [3])]
    path = write_graph(tmp_path / "add.onnx", [node], (taken, [value("restored", FLOATS, ["n", 3])]), [kernel])
    assert [spec.name for spec in open_onnx(path).inputs] == ["frames"]


def test_axes_without_name_are_numbered(tmp_path: Path) -> None:
    frames, restored = value("frames"), value("restored")
    for tensor in (frames, restored):
        tensor.type.tensor_type.shape.dim[1].Clear()
    node = helper.make_node("Identity", ["frames"], ["restored"])
    path = write_graph(tmp_path / "unnamed.onnx", [node], ([frames], [restored]))
    assert open_onnx(path).inputs[0].shape == ("batch", "axis1", "width", 3)


def test_hash_is_that_of_the_file(tmp_path: Path) -> None:
    path = write_identity(tmp_path / "identity.onnx")
    assert open_onnx(path).sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        open_onnx(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.onnx").startswith(f"no model file at {tmp_path}/none.onnx; ")
    assert refusal(tmp_path).startswith(f"no model file at {tmp_path}; ")


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 100, b"\x89PNG\r\n\x1a\n" + bytes(range(256))])
def test_file_that_is_no_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    assert refusal(path).startswith(f"{path} is not an ONNX model (")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused(tmp_path: Path, part: float) -> None:
    path = write_conv(tmp_path / "conv.onnx", np.ones((3, 3, 3, 3), np.float32))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    assert refusal(path).startswith(f"{path} is not an ONNX model (")


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        ('{"scale": 3}', "unfit.onnx: scale is 3, expected one of 1, 4"),
        ('{"tiles": 3}', "unfit.onnx: the contract has unknown fields ['tiles']; update deblurrt"),
        ("[]", "unfit.onnx: the contract is a list, expected an object"),
    ],
)
def test_file_with_an_impossible_contract_is_refused(tmp_path: Path, contract: str, message: str) -> None:
    node = helper.make_node("Identity", ["frames"], ["restored"])
    values = [value("frames", BYTES)], [value("restored", BYTES)]
    assert refusal(write_graph(tmp_path / "unfit.onnx", [node], values, contract=contract)) == message


def test_written_file_reads_back_the_same(model: Any, tmp_path: Path) -> None:
    written = write_onnx(model, tmp_path / "model.onnx")
    assert onnx.load(written.path) == model
    assert written == open_onnx(written.path)
    assert list(tmp_path.iterdir()) == [written.path]


def test_writing_is_deterministic(model: Any, tmp_path: Path) -> None:
    first, second = (write_onnx(model, tmp_path / name) for name in ("first.onnx", "second.onnx"))
    assert first.sha256() == second.sha256()


def test_existing_file_is_kept_unless_forced(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("precious")
    with pytest.raises(OutputError, match=r"exists already; .* --force"):
        write_onnx(model, path)
    assert path.read_text() == "precious"
    assert write_onnx(model, path, force=True).contract == FrameContract(halo_px=0)


def test_missing_folder_is_refused_with_the_remedy(model: Any, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=f"the folder {tmp_path}/none of .* mkdir -p {tmp_path}/none$"):
        write_onnx(model, tmp_path / "none" / "model.onnx")


def test_failed_write_leaves_the_old_file_and_nothing_else(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("precious")

    def fill_disk(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        write_onnx(model, path, force=True)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]
