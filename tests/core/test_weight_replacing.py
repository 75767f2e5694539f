"""A model with weights beside it replaced by another: each finds its own weights, whenever the work ended."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from deblurrt.core.artifacts import write_onnx
from tests.core.test_external_data import make_model, names_in, restored_by, weights_of, with_location


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    others = ["m.onnx.data", "m.onnx.0123456789ab.data", "m.onnx.data.txt"]
    for name in others:
        (tmp_path / name).write_text("precious")
    write_onnx(copy.deepcopy(model), tmp_path / "m.onnx", external_data=True)
    write_onnx(model, tmp_path / "m.onnx", True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "m.onnx"])
    assert {(tmp_path / name).read_text() for name in others} == {"precious"}


@pytest.mark.parametrize("is_parted", [True, False], ids=["parted", "whole"])
@pytest.mark.parametrize("seed", [0, 7], ids=["the same weights", "others"])
def test_weights_of_a_replaced_model_go_with_it(tmp_path: Path, seed: int, is_parted: bool) -> None:
    path = tmp_path / "m.onnx"
    write_onnx(make_model(tmp_path), path, external_data=True)
    write_onnx(make_model(tmp_path, seed), path, True, external_data=is_parted)
    assert names_in(tmp_path) == ["m.onnx", "m.onnx.HASH.data"][: 1 + is_parted]
    np.testing.assert_array_equal(
        restored_by(path), restored_by(write_onnx(make_model(tmp_path, seed), tmp_path / "w").path)
    )


def test_weights_called_as_before_go_with_their_model(tmp_path: Path) -> None:
    """Versions before named the file after the model alone."""
    path = tmp_path / "m.onnx"
    write_onnx(make_model(tmp_path), path, external_data=True)
    weights_of(path).rename(tmp_path / "m.onnx.data")
    with_location(path, "m.onnx.data")
    write_onnx(make_model(tmp_path, 7), path, True, external_data=True)
    assert names_in(tmp_path) == ["m.onnx", "m.onnx.HASH.data"]


def test_model_of_small_tensors_has_no_file_beside_it(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    del model.graph.initializer[:]
    model.graph.node.pop()
    model.graph.node[0].CopyFrom(onnx.helper.make_node("Relu", ["frames"], ["restored"]))
    assert write_onnx(model, tmp_path / "m.onnx", external_data=True).weight_files == ()
    assert names_in(tmp_path) == ["m.onnx"]


#: writes a model and is gone at once before or after the renaming of a file
KILLED = """
import os, sys
from pathlib import Path
import onnx
from deblurrt.core.artifacts import write_onnx
replace, seen, (number, when) = Path.replace, [], sys.argv[3:]

def fatal(self, target):
    seen.append(target)
    if when == "before" and len(seen) == int(number):
        os._exit(9)
    replace(self, target)
    if when == "after" and len(seen) == int(number):
        os._exit(9)

Path.replace = fatal
write_onnx(onnx.load(sys.argv[1]), Path(sys.argv[2]), True, external_data=True)
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", ["1", "2"])
def test_model_finds_its_own_weights_whenever_the_writing_was_killed(tmp_path: Path, number: str, when: str) -> None:
    path = tmp_path / "m.onnx"
    old, new = (restored_by(write_onnx(make_model(tmp_path, seed), tmp_path / f"{seed}").path) for seed in (0, 7))
    write_onnx(make_model(tmp_path), path, external_data=True)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "7"), str(path), number, when]
    assert subprocess.run(command, timeout=60, check=False).returncode == 9
    np.testing.assert_array_equal(restored_by(path), new if (number, when) == ("2", "after") else old)
    write_onnx(make_model(tmp_path, 7), path, True, external_data=True)
    np.testing.assert_array_equal(restored_by(path), new)
