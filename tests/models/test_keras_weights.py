from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deblurrt.core.errors import MissingExtraError, ModelFileError
from deblurrt.core.optional import require
from deblurrt.models.keras_weights import KerasWeights, read_keras_weights
from tests.models.keras_files import write_keras_2, write_keras_3
from tests.models.keras_reference import Arrays, seeded_arrays
from tests.models.official_layouts import atrous_net

#: as of Keras 2, which computes it in float32
SLOPE_OF_KERAS_2 = 0.30000001192092896
NORMED = seeded_arrays(atrous_net(1, 4, 3, batch_norm=True))
PLAIN = seeded_arrays(atrous_net(2, 4))


def flat(weights: KerasWeights) -> dict[str, np.ndarray[Any, Any]]:
    return {f"{layer}/{kind}:0": array for layer, kinds in weights.layers.items() for kind, array in kinds.items()}


def same(weights: KerasWeights, arrays: Arrays) -> bool:
    found = flat(weights)
    return found.keys() == arrays.keys() and all(np.array_equal(found[key], array) for key, array in arrays.items())


def open_new(path: Path) -> Any:
    return require("h5py", purpose="test").File(path, "w")


def layer_names(arrays: Mapping[str, object]) -> list[str]:
    return list(dict.fromkeys(key.split("/")[0] for key in arrays))


def description(arrays: Mapping[str, object], slopes: tuple[float, ...] = (), key: str = "alpha") -> str:
    """What ``model.to_json()`` says of a model with these layers."""
    classes = {"conv2d": "Conv2D", "conv2d_transpose": "Conv2DTranspose", "batch_normalization": "BatchNormalization"}
    layers: list[dict[str, Any]] = [{"class_name": "InputLayer", "config": {"name": "input_1"}}]
    for name in layer_names(arrays):
        layers.append({"class_name": classes[name.rstrip("_0123456789")], "config": {"name": name}})
    layers += [{"class_name": "LeakyReLU", "config": {key: slope}} for slope in slopes]
    return json.dumps({"class_name": "Functional", "config": {"name": "model", "layers": layers}})


@pytest.mark.parametrize("offset", [0, 3, 96])
@pytest.mark.parametrize("arrays", [NORMED, PLAIN])
def test_weights_of_keras_2_are_counted_from_none(offset: int, arrays: Arrays, tmp_path: Path) -> None:
    path = write_keras_2(tmp_path / "weights.h5", arrays, offset=offset)
    weights = read_keras_weights(path)
    assert same(weights, arrays)
    assert (weights.path, weights.slope) == (path, None)
    assert {array.dtype for kinds in weights.layers.values() for array in kinds.values()} == {np.dtype(np.float32)}


def test_layers_follow_their_numbers_not_the_alphabet(tmp_path: Path) -> None:
    weights = read_keras_weights(write_keras_2(tmp_path / "weights.h5", PLAIN, offset=5))
    assert list(weights.layers) == layer_names(PLAIN)
    assert weights.kernels()[-1] == (3, 3, 1, 3)
    assert (weights.count("conv2d"), weights.count("conv2d_transpose")) == (14, 1)
    assert weights.kernels("conv2d_transpose") == [(3, 3, 2, 4)]


def test_whole_model_is_read_without_its_optimiser(tmp_path: Path) -> None:
    assert same(read_keras_weights(write_keras_2(tmp_path / "model.h5", NORMED, whole_model=True)), NORMED)


def test_weights_of_keras_3_are_read_by_their_folders(tmp_path: Path) -> None:
    assert same(read_keras_weights(write_keras_3(tmp_path / "model.weights.h5", NORMED)), NORMED)


def test_names_noted_by_keras_3_go_before_its_folders(tmp_path: Path) -> None:
    # Keras 3.15 numbers folders along the graph and notes the layer's name, which counts creation
    names = layer_names(PLAIN)[:14]
    with open_new(tmp_path / "model.weights.h5") as file:
        for place, (folder, name) in enumerate(zip(reversed(names), names, strict=True), start=7):
            stored = file.create_group(f"layers/{folder}/vars")
            stored.attrs["name"] = f"conv2d_{place}"
            stored["0"], stored["1"] = PLAIN[f"{name}/kernel:0"], PLAIN[f"{name}/bias:0"]
        named = file.create_group("layers/conv2d_transpose/vars")
        named.attrs["name"] = "grow"
        named["0"], named["1"] = PLAIN["conv2d_transpose/kernel:0"], PLAIN["conv2d_transpose/bias:0"]
    assert same(read_keras_weights(tmp_path / "model.weights.h5"), PLAIN)


def test_layers_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    with open_new(tmp_path / "weights.h5") as file:
        file["conv2d_4/conv2d_4/kernel:0"] = np.ones((3, 3, 1, 1))
        file["dense/dense/kernel:0"] = np.ones((3, 3))
        file["depthwise_conv2d/depthwise_conv2d/kernel:0"] = np.ones((3, 3, 1, 1))
        file["layers/conv2d_5/vars/7"] = np.ones(3)
    weights = read_keras_weights(tmp_path / "weights.h5")
    assert list(flat(weights)) == ["conv2d/kernel:0"]
    assert weights.kernels() == [(3, 3, 1, 1)]


def test_one_array_given_twice_is_refused(tmp_path: Path) -> None:
    with open_new(tmp_path / "two.h5") as file:
        file["first/conv2d/kernel:0"] = np.ones((3, 3, 1, 1))
        file["second/conv2d/kernel:0"] = np.zeros((3, 3, 1, 1))
    with pytest.raises(ModelFileError, match=r"two\.h5 holds the kernel of conv2d twice; save the one model's"):
        read_keras_weights(tmp_path / "two.h5")


def test_description_takes_the_newest_weights_beside_it(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(description(PLAIN))
    new = write_keras_2(tmp_path / "weights-02-01-2021_10-00-00.h5", PLAIN)
    old = write_keras_2(tmp_path / "weights-30-12-2020_10-00-00.h5", NORMED)
    other = write_keras_2(tmp_path / "optimizer.h5", NORMED)
    for age, path in enumerate([other, new, old]):
        os.utime(path, (1_600_000_000 - age, 1_600_000_000 - age))
    weights = read_keras_weights(tmp_path / "model.json")
    assert weights.path == new
    assert same(weights, PLAIN)


def test_description_without_weights_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no model description at .*model\.json; give it or the weights"):
        read_keras_weights(tmp_path / "model.json")
    (tmp_path / "model.json").write_text(description(PLAIN))
    with pytest.raises(ModelFileError, match=r"model\.json has no weights\*\.h5 beside it; give the \.h5 file"):
        read_keras_weights(tmp_path / "model.json")


@pytest.mark.parametrize("key", ["alpha", "negative_slope"])
def test_slope_is_read_off_the_description_beside(key: str, tmp_path: Path) -> None:
    path = write_keras_2(tmp_path / "weights.h5", PLAIN)
    (tmp_path / "model.json").write_text(description(PLAIN, (SLOPE_OF_KERAS_2,) * 2, key))
    assert read_keras_weights(path).slope == 0.3
    assert read_keras_weights(tmp_path / "model.json").slope == 0.3


def test_description_put_through_json_twice_is_understood(tmp_path: Path) -> None:
    path = write_keras_2(tmp_path / "weights.h5", PLAIN)
    (tmp_path / "model.json").write_text(json.dumps(description(PLAIN, (0.2,))))
    assert read_keras_weights(path).slope == 0.2


def test_whole_model_tells_its_own_slope(tmp_path: Path) -> None:
    path = write_keras_2(tmp_path / "model.h5", PLAIN, whole_model=True)
    with require("h5py", purpose="test").File(path, "a") as file:
        file.attrs["model_config"] = description(PLAIN, (0.2,))
    assert read_keras_weights(path).slope == 0.2
    (tmp_path / "model.json").write_text(description(PLAIN, (0.1,)))
    assert read_keras_weights(path).slope == 0.1


def test_description_of_other_layers_is_refused(tmp_path: Path) -> None:
    path = write_keras_2(tmp_path / "weights.h5", PLAIN)
    (tmp_path / "model.json").write_text(description(NORMED))
    with pytest.raises(ModelFileError, match=r"has 14 layers conv2d, model\.json tells of 9; give the two files of"):
        read_keras_weights(path)


def test_description_of_several_slopes_is_refused(tmp_path: Path) -> None:
    path = write_keras_2(tmp_path / "weights.h5", PLAIN)
    (tmp_path / "model.json").write_text(description(PLAIN, (0.2, 0.3)))
    with pytest.raises(ModelFileError, match=r"leaky ReLUs of the slopes \[0\.2, 0\.3\], expected one"):
        read_keras_weights(path)


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"\xff\xfe",
        b"[1]",
        b"3",
        b'{"config": {}}',
        b'{"config": {"layers": [{"class_name": "LeakyReLU", "config": {}}]}}',
        b'{"config": {"layers": [{"class_name": "LeakyReLU", "config": {"alpha": [1]}}]}}',
        b'{"config": {"layers": [{"class_name": "LeakyReLU", "config": null}]}}',
    ],
)
def test_description_of_something_else_is_refused(text: bytes, tmp_path: Path) -> None:
    path = write_keras_2(tmp_path / "weights.h5", PLAIN)
    (tmp_path / "model.json").write_bytes(text)
    with pytest.raises(ModelFileError, match=r"model\.json of .* describes no Keras model .*; move it away or give"):
        read_keras_weights(path)


@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.99])
def test_truncated_file_is_refused(part: float, tmp_path: Path) -> None:
    content = write_keras_2(tmp_path / "whole.h5", NORMED).read_bytes()
    (tmp_path / "weights.h5").write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ModelFileError, match=r"weights\.h5 is no whole HDF5 file \(.*\); copy it again"):
        read_keras_weights(tmp_path / "weights.h5")


def test_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.h5").write_bytes(b"PK\x03\x04 not HDF5")
    for name in ("weights.h5", "missing.h5"):
        with pytest.raises(ModelFileError, match=rf"{name} is no whole HDF5 file"):
            read_keras_weights(tmp_path / name)


def test_file_of_another_program_is_refused(tmp_path: Path) -> None:
    with open_new(tmp_path / "data.h5") as file:
        file["measured/temperature"] = np.zeros(5)
    with pytest.raises(ModelFileError, match=r"data\.h5 holds no layers of Keras; give the weights-….h5"):
        read_keras_weights(tmp_path / "data.h5")


def test_layers_of_text_are_refused(tmp_path: Path) -> None:
    with open_new(tmp_path / "text.h5") as file:
        file["conv2d/kernel:0"] = "words"
    with pytest.raises(ModelFileError, match=r"text\.h5 is no whole HDF5 file"):
        read_keras_weights(tmp_path / "text.h5")


def test_missing_h5py_names_the_extra_that_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_keras_2(tmp_path / "weights.h5", PLAIN)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"h5py is needed to read Keras weights .*deblurrt\[keras\]"):
        read_keras_weights(path)
