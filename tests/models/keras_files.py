"""Keras' HDF5 files, written as Keras writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deblurrt.core.optional import require

h5py = require("h5py", purpose="write the files of a test")

#: layers without weights, which Keras lists as well
EMPTY_LAYERS = ("input_1", "leaky_re_lu", "add", "concatenate")


def write_keras_2(
    path: Path, arrays: Mapping[str, NDArray[Any]], *, offset: int = 3, whole_model: bool = False
) -> Path:
    """Write ``conv2d_1/kernel:0`` and the like as ``model.save_weights`` of Keras 2 does.

    Layers are numbered from ``offset``, as where other models were built first.
    """
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        by_layer: dict[str, dict[str, NDArray[Any]]] = {}
        for key, array in arrays.items():
            layer, kind = key.split("/")
            by_layer.setdefault(renumbered(layer, offset), {})[kind] = array
        # Keras lists layers in the order of its graph, not of creation
        names = [*EMPTY_LAYERS, *reversed(by_layer)]
        root.attrs["layer_names"] = [name.encode() for name in names]
        root.attrs["backend"] = b"tensorflow"
        for name in names:
            group = root.create_group(name)
            kinds = by_layer.get(name, {})
            group.attrs["weight_names"] = [f"{name}/{kind}".encode() for kind in kinds]
            for kind, array in kinds.items():
                group.create_dataset(f"{name}/{kind}", data=np.asarray(array))
        if whole_model:
            file.create_group("optimizer_weights").create_dataset("conv2d/kernel:0", data=np.zeros(3))
    return path


def write_keras_3(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Path:
    """Write the same as ``.weights.h5`` of Keras 3: ``layers/conv2d_1/vars/0``."""
    counts: dict[str, int] = {}
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            layer = key.split("/")[0]
            place = counts.get(layer, 0)
            counts[layer] = place + 1
            file.create_dataset(f"layers/{layer}/vars/{place}", data=np.asarray(array))
        file.create_group("optimizer/vars").create_dataset("0", data=np.zeros(2))
    return path


def renumbered(layer: str, offset: int) -> str:
    """Move the number at the end of a layer's name."""
    stem, _, number = layer.rpartition("_")
    if not number.isdecimal():
        stem, number = layer, "0"
    place = int(number) + offset
    return f"{stem}_{place}" if place else stem
