"""Files of weights, told apart and read without running code from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from deblurrt.core.errors import ModelFileError
from deblurrt.models.weight_files import file_sha256, is_keras, read_state

STATE = {"head.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.ones(2)}


class Dangerous:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (exec, ("raise SystemExit('code from the file was run')",))


def same(state: dict[str, torch.Tensor]) -> bool:
    return state.keys() == STATE.keys() and all(torch.equal(state[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "params", "params_ema"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappers_and_prefixes_are_taken_off(wrapper: str | None, prefix: str, tmp_path: Path) -> None:
    state = {f"{prefix}{key}": value for key, value in STATE.items()}
    content = state if wrapper is None else {"epoch": 3, wrapper: state, "optimizer": {"lr": 0.1}}
    torch.save(content, tmp_path / "weights.pth")
    assert same(read_state(tmp_path / "weights.pth"))


def test_files_older_than_the_zip_format_are_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert same(read_state(tmp_path / "old.pt"))


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.bin"])
def test_safetensors_are_known_by_their_content(name: str, tmp_path: Path) -> None:
    save_file(STATE, tmp_path / name)
    assert same(read_state(tmp_path / name))


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "extra": Dangerous()}, tmp_path / "bad.pth")
    with pytest.raises(ModelFileError, match="not loaded for safety"):
        read_state(tmp_path / "bad.pth")


@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_truncated_files_are_named(form: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pth")
    if form == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=form == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ModelFileError, match="no whole checkpoint") as caught:
        read_state(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}, {"state_dict": {"a": 1}}, torch.ones(2)])
def test_files_without_weights_say_what_they_hold(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ModelFileError, match="holds no weights by name"):
        read_state(tmp_path / "other.pth")


def test_text_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_text("not weights at all")
    with pytest.raises(ModelFileError, match="no whole checkpoint"):
        read_state(tmp_path / "notes.pth")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no checkpoint at"):
        is_keras(tmp_path / "missing.pth")


def test_hash_is_of_the_files_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"weights")
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"weights").hexdigest()
