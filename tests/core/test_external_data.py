"""Weights beside a model file: written whole or not at all, found again, and checked."""

from __future__ import annotations

import copy
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from deblurrt.core import artifacts
from deblurrt.core.artifacts import open_onnx, write_onnx
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import ModelFileError, OutputError
from deblurrt.core.external_data import ALIGNMENT_BYTES, LEAST_MOVED_BYTES, external_data, weight_files
from deblurrt.core.optional import require
from tests.tiny_graphs import FLOAT_FRAMES, FLOATS, value, write_graph

onnxruntime = require("onnxruntime", purpose="run a graph")

CONTRACT = FrameContract(io="float", halo_px=0)
#: name -> shape; the first and the third are moved, the second is too small to be
SHAPES = {"widen.weight": (100, 3, 1, 1), "widen.bias": (100,), "narrow.weight": (3, 100, 1, 1)}
FRAMES = np.random.default_rng(1).random((1, 3, 5, 7), dtype=np.float32)


def weights(seed: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in SHAPES.items()}


def make_model(folder: Path, seed: int = 0) -> onnx.ModelProto:
    """Two convolutions of one pixel, in memory."""
    path = folder / "made.onnx"
    nodes = [
        onnx.helper.make_node("Conv", ["frames", "widen.weight", "widen.bias"], ["wide"]),
        onnx.helper.make_node("Conv", ["wide", "narrow.weight"], ["restored"]),
    ]
    values = [value("frames", FLOATS, FLOAT_FRAMES)], [value("restored", FLOATS, FLOAT_FRAMES)]
    constants = [numpy_helper.from_array(array, name) for name, array in weights(seed).items()]
    write_graph(path, nodes, values, constants, CONTRACT.to_json())
    model = onnx.load(path)
    path.unlink()
    return model


@pytest.fixture
def model(tmp_path: Path) -> onnx.ModelProto:
    return make_model(tmp_path)


def restored_by(path: Path) -> Any:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"frames": FRAMES})[0]


def names_in(folder: Path) -> list[str]:
    """What lies there; of a hash in a name, that it is one."""
    return sorted(re.sub(r"\.[0-9a-f]{12}\.data", ".HASH.data", path.name) for path in folder.iterdir())


def weights_of(path: Path) -> Path:
    """The one file of weights beside a model."""
    (name,) = open_onnx(path).weight_files
    return path.with_name(name)


def entries_of(path: Path) -> dict[str, dict[str, str]]:
    """What the tensors of a model say of their place, by tensor."""
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    return {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in tensors
        if tensor.external_data
    }


def test_file_with_weights_beside_it_restores_what_the_whole_one_does(model: onnx.ModelProto, tmp_path: Path) -> None:
    whole = write_onnx(copy.deepcopy(model), tmp_path / "whole.onnx")
    parted = write_onnx(model, tmp_path / "parted.onnx", external_data=True)
    assert names_in(tmp_path) == ["parted.onnx", "parted.onnx.HASH.data", "whole.onnx"]
    np.testing.assert_array_equal(restored_by(parted.path), restored_by(whole.path))
    onnx.checker.check_model(str(parted.path), full_check=True)
    assert whole.weight_files == ()
    assert (parted.contract, parted.inputs) == (whole.contract, whole.inputs)


def test_tensors_say_where_their_bytes_lie(model: onnx.ModelProto, tmp_path: Path) -> None:
    write_onnx(model, tmp_path / "m.onnx", external_data=True)
    weights_path = weights_of(tmp_path / "m.onnx")
    content = weights_path.read_bytes()
    assert weights_path.name == f"m.onnx.{hashlib.sha256(content).hexdigest()[:12]}.data"
    entries = entries_of(tmp_path / "m.onnx")
    assert entries.keys() == {"widen.weight", "narrow.weight"}
    for name, entry in entries.items():
        offset, length = int(entry["offset"]), int(entry["length"])
        assert content[offset : offset + length] == weights(0)[name].tobytes()
        assert offset % ALIGNMENT_BYTES == 0
        assert entry["location"] == weights_path.name
        assert entry["checksum"] == hashlib.sha1(content, usedforsecurity=False).hexdigest()
    assert len(content) == ALIGNMENT_BYTES + 4 * 300, "nothing else lies there"


def test_small_tensors_stay_inside(model: onnx.ModelProto, tmp_path: Path) -> None:
    edge = LEAST_MOVED_BYTES // 4
    for name, length in (("below", edge - 1), ("at", edge)):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(length, np.float32), name))
    write_onnx(model, tmp_path / "m.onnx", external_data=True)
    assert entries_of(tmp_path / "m.onnx").keys() == {"widen.weight", "narrow.weight", "at"}


def test_written_weights_are_found_whole(model: onnx.ModelProto, tmp_path: Path) -> None:
    write_onnx(model, tmp_path / "m.onnx", external_data=True)
    (found,) = external_data(tmp_path, onnx.load(tmp_path / "m.onnx", load_external_data=False).graph.initializer)
    content = weights_of(tmp_path / "m.onnx").read_bytes()
    assert (found.size_bytes, found.problem) == (len(content), None)
    assert found.sha256 == hashlib.sha256(content).hexdigest()


def test_two_writings_give_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        write_onnx(make_model(folder), folder / "m.onnx", external_data=True)
        written.append([(path.name, path.read_bytes()) for path in sorted(folder.iterdir())])
    assert len(written[0]) == 2
    assert written[0] == written[1]


def test_hash_of_a_file_follows_the_weights_beside_it(model: onnx.ModelProto, tmp_path: Path) -> None:
    file = write_onnx(model, tmp_path / "m.onnx", external_data=True)
    before, header = file.sha256(), file.path.read_bytes()
    data = weights_of(file.path)
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    assert file.path.read_bytes() == header
    assert open_onnx(file.path).sha256() == file.sha256() != before
    assert before == hashlib.sha256(header + bytes(content[:-1]) + bytes([content[-1] ^ 1])).hexdigest()


def test_model_without_weights_has_no_files_of_them(model: onnx.ModelProto) -> None:
    assert weight_files(model) == ()


@pytest.mark.parametrize("difference", [0, 1], ids=["at the limit", "above it"])
def test_weights_go_beside_the_file_above_what_one_file_may_hold(
    model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, difference: int
) -> None:
    held = sum(array.nbytes for array in weights(0).values())
    monkeypatch.setattr(artifacts, "MOST_INLINE_BYTES", held - difference)
    file = write_onnx(model, tmp_path / "m.onnx")
    assert len(file.weight_files) == difference


@pytest.mark.parametrize("name", ["m.onnx", "m.onnx.part", "m.onnx.data.part"])
def test_what_is_there_already_is_kept_unless_forced(model: onnx.ModelProto, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(OutputError, match=r"--force"):
        write_onnx(copy.deepcopy(model), tmp_path / "m.onnx", external_data=True)
    assert names_in(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "precious"
    write_onnx(model, tmp_path / "m.onnx", True, external_data=True)
    assert names_in(tmp_path) == ["m.onnx", "m.onnx.HASH.data"]


#: writes a model under a limit of the operating system for the size of files
LIMITED = """
import resource, sys
from pathlib import Path
import onnx
from deblurrt.core.artifacts import write_onnx
from deblurrt.core.errors import OutputError
model = onnx.load(sys.argv[1])
most = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
try:
    write_onnx(model, Path(sys.argv[2]), True, external_data=True)
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the limit is one of POSIX")
def test_full_disk_leaves_the_old_files_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    path = tmp_path / "old" / "m.onnx"
    write_onnx(make_model(tmp_path), path, external_data=True)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    onnx.save(make_model(tmp_path, seed=7), tmp_path / "new.onnx")
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "new.onnx"), str(path), str(ALIGNMENT_BYTES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith(f"disk full while writing {path}.data (")
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


@pytest.mark.parametrize("was_there", [True, False], ids=["old files", "no files"])
def test_model_that_cannot_be_written_takes_its_weights_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was_there: bool
) -> None:
    """The disk is full when the weights are down and the model is not: old model and old weights still fit."""
    path = tmp_path / "m.onnx"
    if was_there:
        write_onnx(make_model(tmp_path), path, external_data=True)
    expected = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    changed = make_model(tmp_path, seed=7)

    def fill_disk(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_disk)
    with pytest.raises(OutputError, match=r"disk full while writing .*m\.onnx \(No space left on device\)"):
        write_onnx(changed, path, True, external_data=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == expected


def with_location(path: Path, location: str) -> Path:
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("form", ["../outside.data", "{folder}/outside.data", "inner/../../outside.data"])
def test_weights_outside_the_folder_are_refused(model: onnx.ModelProto, tmp_path: Path, form: str) -> None:
    """A model from elsewhere must not read the files of this machine."""
    inside = tmp_path / "models"
    (inside / "inner").mkdir(parents=True)
    write_onnx(model, inside / "m.onnx", external_data=True)
    weights_of(inside / "m.onnx").rename(tmp_path / "outside.data")
    path = with_location(inside / "m.onnx", form.format(folder=tmp_path))
    with pytest.raises(ModelFileError) as caught:
        open_onnx(path)
    location = form.format(folder=tmp_path)
    # long names are cut in messages
    assert str(caught.value).startswith(f"m.onnx: its file of weights '{location[:20]}")
    assert str(caught.value).endswith(" lies outside the model's folder; keep both in one folder")


def test_missing_weights_are_refused(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = write_onnx(model, tmp_path / "m.onnx", external_data=True).path
    name = weights_of(path).name
    (tmp_path / name).unlink()
    with pytest.raises(ModelFileError) as caught:
        open_onnx(path)
    told = f"m.onnx: its file of weights {name!r} is missing; keep both in one folder"
    assert str(caught.value) == told
