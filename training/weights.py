"""The weights file of a student network: safetensors, with the recipe in its header."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ModelFileError
from ..core.optional import require
from ..core.outputs import write_whole
from .recipe import RECIPES, Recipe

Weights = dict[str, NDArray[np.float32]]


def save_weights(weights: Weights, recipe: Recipe, trained: dict[str, object], path: Path) -> None:
    """Write a student's state dict beside its place and rename it.

    Args:
        weights: ``float32`` arrays by parameter name.
        recipe: What they were trained with.
        trained: Steps, pixels and time of the run.
        path: Where the file goes; an older one is replaced.
    """
    numpy_form = require("safetensors.numpy", purpose="write weights")
    header = {"recipe": recipe.name, "model": json.dumps(asdict(recipe.model)), "trained": json.dumps(trained)}
    write_whole(path, numpy_form.save({name: np.ascontiguousarray(array) for name, array in weights.items()}, header))


def load_weights(path: Path) -> tuple[Weights, Recipe, dict[str, object]]:
    """Read what ``save_weights`` wrote: the arrays, their recipe, and the account of the run.

    Raises:
        ModelFileError: The file is missing, damaged, or not of a student network.
    """
    safetensors = require("safetensors", purpose="read weights")
    if not path.is_file():
        raise ModelFileError(f"no weights at {path}; deblurrt train writes them")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is no readable safetensors file ({error}); is it whole?") from error
    recipe = RECIPES.get(header.get("recipe", ""))
    if recipe is None or json.loads(header.get("model", "{}")) != json.loads(json.dumps(asdict(recipe.model))):
        raise ModelFileError(f"{path} does not hold a student network of {', '.join(RECIPES)}")
    return weights, recipe, json.loads(header.get("trained", "{}"))


def weights_sha256(weights: Weights) -> str:
    """Hash names, shapes and values, independent of the file they lie in."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name], "<f4")
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def provenance(weights: Weights, recipe: Recipe, trained: dict[str, object]) -> dict[str, object]:
    """What a model file says of where its weights come from."""
    return {"weights_sha256": weights_sha256(weights), "recipe": recipe.name, "trained": trained}
