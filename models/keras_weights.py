"""Keras' weights in HDF5 files; needs h5py, no torch and no Keras."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
#: differences an error lists before it says how many more
LISTED = 3
#: decimals of a slope that mean something; Keras 2 writes 0.3 as 0.30000001192092896
SLOPE_DECIMALS = 6

#: class and settings of each layer of a model
Description = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True, eq=False)
class KerasWeights:
    """Arrays by layer and kind.

    Attributes:
        path: The file they come from.
        layers: ``conv2d``, ``conv2d_1``, … in the order of creation, counted from none whatever the
            numbers in the file -> ``kernel``, ``bias``, ``gamma``, … in Keras' axis order.
        slope: Of the model's leaky ReLUs; None without any, or without a description of the model.
    """

    path: Path
    layers: Mapping[str, Mapping[str, Array]]
    slope: float | None = None

    def kernels(self, kind: str = "conv2d") -> list[tuple[int, ...]]:
        """Shapes of the four-dimensional kernels of one kind of layer, in the order of creation."""
        kernels = [arrays.get("kernel") for name, arrays in self.layers.items() if _split(name)[0] == kind]
        return [kernel.shape for kernel in kernels if kernel is not None and kernel.ndim == 4]

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
            raise ModelFileError(
                f"{self.path} does not fit the network: {'; '.join(faults[:LISTED])}{more}; "
                "model_from_checkpoint makes the network it fits"
            )


def read_keras_weights(path: Path) -> KerasWeights:
    """Read the weights in an HDF5 file, or the newest ``weights*.h5`` beside a ``model.json``.

    Understood are Keras 2's weights and whole models, and Keras 3's ``.weights.h5``. Layers are ordered
    by the number in their name, which starts anywhere. The ``model.json`` in the same folder, or else
    what a whole model says of itself, is held against what was found and tells the leaky ReLUs' slope.

    Raises:
        ModelFileError: There is no such file, it is damaged, it holds no layers or other ones than
            described.
        MissingExtraError: h5py is not installed.
    """
    file = _weights_beside(path) if path.suffix == ".json" else path
    arrays, inside = _read_file(file)
    if not arrays:
        raise ModelFileError(f"{file} holds no layers of Keras; give the weights-….h5 its model.save_weights wrote")
    weights = KerasWeights(file, _renumbered(arrays))
    beside = path.with_name("model.json") if path.suffix != ".json" else path
    if beside.is_file():
        return _with_description(weights, beside.read_bytes(), beside.name)
    return weights if inside is None else _with_description(weights, inside, "its model_config")


def _weights_beside(description: Path) -> Path:
    if not description.is_file():
        raise ModelFileError(f"no model description at {description}; give it or the weights-….h5")
    found = sorted(description.parent.glob("*weights*.h5"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    if not found:
        raise ModelFileError(f"{description} has no weights*.h5 beside it; give the .h5 file of the same model")
    return found[-1]


def _read_file(path: Path) -> tuple[dict[str, dict[str, Array]], str | bytes | None]:
    """Arrays by the layer's name in the file, without the optimiser's, and what a whole model says of itself."""
    h5py = require("h5py", purpose="read Keras weights")
    arrays: dict[str, dict[str, Array]] = {}

    def visit(place: str, node: Any) -> None:
        parts = place.split("/")
        if not isinstance(node, h5py.Dataset) or parts[0].startswith("optimizer"):
            return
        named = _layer_and_kind(parts, str(node.parent.attrs.get("name", "")))
        if named is None:
            return
        layer, kind = named
        if kind in arrays.setdefault(layer, {}):
            raise ModelFileError(f"{path} holds the {kind} of {layer} twice; save the one model's weights alone")
        arrays[layer][kind] = np.asarray(node[()], np.float32)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
            return arrays, file.attrs.get("model_config")
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
        raise ModelFileError(f"{path} is no whole HDF5 file ({reason}); copy it again") from error


def _layer_and_kind(parts: list[str], written: str) -> tuple[str, str] | None:
    """Name of the layer and kind of the array from a place in the file; None for other layers.

    Args:
        parts: Of the place.
        written: Keras 3's note of the layer's name. Its folders count layers along the graph, which
            is not always the order of creation.
    """
    layer = next((name for name in (written, *reversed(parts[:-1])) if _split(name)[0] in NUMBERED), None)
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


def _with_description(weights: KerasWeights, text: str | bytes, place: str) -> KerasWeights:
    """Add the slope that a model's JSON tells.

    Raises:
        ModelFileError: It describes no Keras model, or one with other numbers of layers.
    """
    try:
        description = _parsed(text)
        slopes = {_slope(settings) for name, settings in description if name == "LeakyReLU"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"{place} of {weights.path} describes no Keras model ({error}); move it away or give the right one"
        ) from error
    classes = [name for name, _ in description]
    for name, kind in CLASSES.items():
        if classes.count(name) != weights.count(kind):
            raise ModelFileError(
                f"{weights.path} has {weights.count(kind)} layers {kind}, {place} tells of {classes.count(name)}; "
                "give the two files of one model"
            )
    if len(slopes) > 1:
        raise ModelFileError(f"{place} of {weights.path} has leaky ReLUs of the slopes {sorted(slopes)}, expected one")
    return replace(weights, slope=next(iter(slopes), None))


def _parsed(text: str | bytes) -> Description:
    model = json.loads(text)
    # model.to_json() put through json.dump once more
    model = json.loads(model) if isinstance(model, str) else model
    return [(layer["class_name"], layer["config"]) for layer in model["config"]["layers"]]


def _slope(settings: Mapping[str, Any]) -> float:
    """Slope of a leaky ReLU: Keras 3's name of it, or Keras 2's."""
    name = "negative_slope" if "negative_slope" in settings else "alpha"
    return round(float(settings[name]), SLOPE_DECIMALS)


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{kind} {list(shape)}" for kind, shape in shapes.items())
