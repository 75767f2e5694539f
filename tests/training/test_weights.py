from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.errors import ModelFileError
from deblurrt.training.recipe import RECIPES
from deblurrt.training.weights import Weights, load_weights, provenance, save_weights, weights_sha256

RECIPE = RECIPES["student-s"]
TRAINED: dict[str, object] = {"steps": 3, "pixels": 1000, "hours": 0.5, "seed": 1}


@pytest.fixture
def weights() -> Weights:
    rng = np.random.default_rng(0)
    return {"head.weight": rng.normal(size=(2, 3)).astype(np.float32), "head.bias": np.zeros(2, np.float32)}


def test_weights_come_back_as_they_were_saved(weights: Weights, tmp_path: Path) -> None:
    save_weights(weights, RECIPE, TRAINED, tmp_path / "w.safetensors")
    read, recipe, trained = load_weights(tmp_path / "w.safetensors")
    assert (recipe, trained) == (RECIPE, TRAINED)
    assert set(read) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(read[name], array)


def test_saving_leaves_nothing_but_the_file(weights: Weights, tmp_path: Path) -> None:
    save_weights(weights, RECIPE, TRAINED, tmp_path / "w.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_hash_follows_the_values_and_not_their_order(weights: Weights) -> None:
    changed = weights | {"head.bias": np.ones(2, np.float32)}
    assert weights_sha256(dict(reversed(weights.items()))) == weights_sha256(weights)
    assert weights_sha256(changed) != weights_sha256(weights)
    assert provenance(weights, RECIPE, TRAINED)["weights_sha256"] == weights_sha256(weights)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no weights at"):
        load_weights(tmp_path / "absent.safetensors")


def test_truncated_weights_are_refused(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(weights, RECIPE, TRAINED, path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ModelFileError, match="no readable safetensors file"):
        load_weights(path)


def test_weights_of_an_unknown_recipe_are_refused(weights: Weights, tmp_path: Path) -> None:
    numpy_form = pytest.importorskip("safetensors.numpy")
    numpy_form.save_file(weights, tmp_path / "w.safetensors", {"recipe": "teacher"})
    with pytest.raises(ModelFileError, match="does not hold a student network"):
        load_weights(tmp_path / "w.safetensors")
