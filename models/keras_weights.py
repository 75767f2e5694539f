"""Keras' weights in HDF5 files; needs h5py, no torch and no Keras."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ModelFileError
from ..core.optional import require

Array = NDArray[np.float32]

#: Keras 3 numbers a layer's arrays; the kinds in their order
NUMBERED = {
    "conv2d": ("kernel", "bias"),
    "conv2d_transpose": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
#: Keras' class of a layer in ``model.json`` -> stem of its name in the weights
CLASSES = {"Conv2D": "conv2d", "Conv2DTranspose": "conv2d_transpose", "BatchNormalization": "batch_normalization"}
LISTED = 3


@dataclass(frozen=True, slots=True, eq=False)
class KerasWeights:
    """Arrays by layer and kind.

    Attributes:
        path: The file they come from.
        layers: ``conv2d``, ``conv2d_1``, … in the order of creation, counted from none whatever the
            numbers in the file -> ``kernel``, ``bias``, ``gamma``, … in Keras' axis order.
    """

    path: Path
    layers: Mapping[str, Mapping[str, Array]]

    def kernels(self, kind: str = "conv2d") -> list[tuple[int, ...]]:
        """Shapes of the kernels of one kind of layer, in the order of creation."""
        numbered = [name for name in self.layers if _split(name)[0] == kind]
        return [self.layers[name]["kernel"].shape for name in numbered if "kernel" in self.layers[name]]

    def count(self, kind: str) -> int:
        """How many layers of a kind there are."""
        return sum(1 for name in self.layers if _split(name)[0] == kind)

    def check_layers(self, wanted: Mapping[str, Mapping[str, tuple[int, ...]]]) -> None:
        """Refuse weights of other layers or shapes than ``wanted``.

        Raises:
            ModelFileError: With the first differences.
        """
        faults = [f"{name} is missing" for name in wanted if name not in self.layers]
        faults += [f"{name} is too many" for name in self.layers if name not in wanted]
        for name in (name for name in wanted if name in self.layers):
            got = {kind: array.shape for kind, array in self.layers[name].items()}
            if got != dict(wanted[name]):
                faults.append(f"{name} has {_shapes(got)} instead of {_shapes(wanted[name])}")
        if faults:
            more = f" and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
            raise ModelFileError(f"{self.path} does not fit the network: {'; '.join(faults[:LISTED])}{more}")


def read_keras_weights(path: Path) -> KerasWeights:
    """Read the weights in an HDF5 file, or those beside a ``model.json``.

    Understood are Keras 2's weights and whole models, and Keras 3's ``.weights.h5``. Layers are ordered
    by the number in their name, which starts anywhere. A ``model.json`` in the same folder is held
    against what was found.

    Raises:
        ModelFileError: There is no such file, it is damaged, or it holds no layers.
        MissingExtraError: h5py is not installed.
    """
    described = path if path.suffix == ".json" else path.with_name("model.json")
    file = _weights_beside(path) if path.suffix == ".json" else path
    weights = KerasWeights(file, _renumbered(_read_arrays(file)))
    if not weights.layers:
        raise ModelFileError(f"{file} holds no layers of Keras; give the weights-….h5 its model.save_weights wrote")
    if described.is_file():
        _check_description(weights, described)
    return weights


def _weights_beside(description: Path) -> Path:
    found = sorted(description.parent.glob("*.h5"), key=lambda path: path.stat().st_mtime)
    if not description.is_file() or not found:
        raise ModelFileError(f"{description} has no weights beside it; give the .h5 file of the same model")
    return found[-1]


def _read_arrays(path: Path) -> dict[str, dict[str, Array]]:
    """Arrays by the layer's name in the file; the optimiser's are passed over."""
    h5py = require("h5py", purpose="read Keras weights")
    arrays: dict[str, dict[str, Array]] = {}

    def visit(place: str, node: Any) -> None:
        parts = place.split("/")
        if not isinstance(node, h5py.Dataset) or parts[0].startswith("optimizer"):
            return
        named = _layer_and_kind(parts)
        if named is not None:
            arrays.setdefault(named[0], {})[named[1]] = np.asarray(node[()], np.float32)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
        raise ModelFileError(f"{path} is no whole HDF5 file ({reason}); copy it again") from error
    return arrays


def _layer_and_kind(parts: list[str]) -> tuple[str, str] | None:
    """Name of the layer and kind of the array from a place in the file; None for other layers."""
    layer = next((part for part in reversed(parts[:-1]) if _split(part)[0] in NUMBERED), None)
    if layer is None:
        return None
    kind = parts[-1].removesuffix(":0")
    if kind.isdecimal() and parts[-2] == "vars":
        kinds = NUMBERED[_split(layer)[0]]
        return (layer, kinds[int(kind)]) if int(kind) < len(kinds) else None
    return layer, kind


def _split(name: str) -> tuple[str, int]:
    """Stem and number of a layer's name: ``("conv2d", 3)`` for ``conv2d_3``, 0 without one."""
    match = re.fullmatch(r"(.*?)(?:_(\d+))?", name)
    assert match is not None
    return match[1], int(match[2] or 0)


def _renumbered(arrays: Mapping[str, dict[str, Array]]) -> dict[str, dict[str, Array]]:
    """Count the layers of each kind from none."""
    layers: dict[str, dict[str, Array]] = {}
    for kind in NUMBERED:
        of_kind = sorted((name for name in arrays if _split(name)[0] == kind), key=_split)
        layers |= {f"{kind}_{place}" if place else kind: arrays[name] for place, name in enumerate(of_kind)}
    return layers


def _check_description(weights: KerasWeights, path: Path) -> None:
    """Refuse weights with other numbers of layers than ``model.json`` beside them says.

    Raises:
        ModelFileError: It is no description of a Keras model, or describes another one.
    """
    try:
        described = json.loads(path.read_text())
        described = json.loads(described) if isinstance(described, str) else described
        classes = [layer["class_name"] for layer in described["config"]["layers"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"{path} describes no Keras model ({error}); move it away or give the right one"
        ) from error
    for name, kind in CLASSES.items():
        if classes.count(name) != weights.count(kind):
            raise ModelFileError(
                f"{weights.path} has {weights.count(kind)} layers {kind}, {path.name} beside it {classes.count(name)}; "
                "give the two files of one model"
            )


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{kind} {list(shape)}" for kind, shape in shapes.items())
