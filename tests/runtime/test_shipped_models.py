from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.artifacts import open_onnx
from deblurrt.core.errors import ModelFileError
from deblurrt.runtime.backend import BackendConfig
from deblurrt.runtime.session import SessionConfig, contract_of, open_session
from deblurrt.runtime.shipped_models import ALIASES, FOLDER, SHIPPED, find_model

CPU = SessionConfig(backend="onnxruntime", options=BackendConfig(threads=1))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_model_carries_a_contract_for_frames_of_any_size(name: str) -> None:
    contract = contract_of(open_onnx(find_model(name)))
    assert (contract.io, contract.window, contract.scale, contract.task) == ("uint8", 1, 1, "deblur")


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "identity"])
def test_shipped_network_says_where_its_weights_come_from(name: str) -> None:
    onnx_file = open_onnx(find_model(name))
    assert {"recipe", "weights_sha256"} <= onnx_file.provenance.keys()
    assert {"operators", "parameters", "macs_per_pixel"} <= onnx_file.summary.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_model_restores_a_small_odd_picture(name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 51, 3), np.uint8)
    with open_session(name, CPU) as session:
        restored = session.restore(pixels)
    assert restored.dtype == np.uint8
    assert restored.shape == pixels.shape


def test_everything_that_ships_is_listed() -> None:
    assert {path.name for path in FOLDER.glob("*.onnx")} == {model.file for model in SHIPPED.values()}


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_other_spelling_means_the_same_file(alias: str, name: str) -> None:
    assert find_model(alias) == find_model(name) == find_model(Path(name))


def test_path_of_a_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "mine.onnx"
    path.touch()
    assert find_model(path) == find_model(str(path)) == path


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("defualt", "no model called 'defualt'; the shipped ones are default, fast, identity, or give the path"),
        (Path("defualt"), "no model called 'defualt'; the shipped ones"),
        ("models/mine", "no model file at models/mine; the shipped ones"),
        ("mine.onnx", "no model file at mine.onnx; the shipped ones"),
        ("/", "no model file at /; the shipped ones"),
    ],
)
def test_unknown_model_is_refused_with_the_ones_there_are(model: str | Path, message: str) -> None:
    with pytest.raises(ModelFileError, match=f"^{re.escape(message)}"):
        find_model(model)
