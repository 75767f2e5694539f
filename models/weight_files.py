"""Files that hold weights: which kind a file is, and its tensors by name."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import ModelFileError
from ..core.optional import require

if TYPE_CHECKING:
    from torch import Tensor

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
#: where training code puts the weights beside epoch and optimiser; ``params`` is BasicSR's
WRAPPERS = ("state_dict", "model", "params_ema", "params")
#: what torch.nn.DataParallel puts before every key
PARALLEL_PREFIX = "module."
HASH_BLOCK_BYTES = 1 << 20


def is_keras(path: Path) -> bool:
    """Whether a file is Keras' HDF5 or its ``model.json``.

    Raises:
        ModelFileError: There is no such file.
    """
    return path.suffix == ".json" or _head(path, len(HDF5_MAGIC)) == HDF5_MAGIC


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a PyTorch or safetensors file; no code in it is run.

    A wrapping dictionary (``state_dict``, ``model``, ``params``) and the prefix ``module.`` are
    taken off.

    Raises:
        ModelFileError: The file is missing, damaged, holds other objects than tensors, or none.
    """
    head = _head(path, 9)
    is_safetensors = path.suffix == ".safetensors" or head[8:9] == b"{"
    content = _read_safetensors(path) if is_safetensors else _read_pickle(path)
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    torch = require("torch", purpose="read a checkpoint")
    state = dict(content) if isinstance(content, Mapping) else {}
    if not state or not all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()):
        held = ", ".join(map(str, list(state)[:6])) or type(content).__name__
        raise ModelFileError(
            f"{path} holds no weights by name (found {held}); save a state_dict: torch.save(m.state_dict(), F)"
        )
    if all(key.startswith(PARALLEL_PREFIX) for key in state):
        return {key[len(PARALLEL_PREFIX) :]: value for key, value in state.items()}
    return state


def file_sha256(path: Path) -> str:
    """Hash a file; reads it whole."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _head(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise ModelFileError(f"no checkpoint at {path} ({error.strerror})") from error


def _read_pickle(path: Path) -> Any:
    torch = require("torch", purpose="read a checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" in str(error) and "GLOBAL" in str(error):
            raise ModelFileError(
                f"{path} holds other objects than tensors, which are not loaded for safety; where you trust it, save "
                "its state_dict alone: torch.save(checkpoint['state_dict'], F)"
            ) from error
        raise _damaged(path, error) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    library = require("safetensors.torch", purpose="read a safetensors file")
    error_kind = require("safetensors", purpose="read a safetensors file").SafetensorError
    try:
        state: dict[str, Tensor] = library.load_file(str(path))
    except (error_kind, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return state


def _damaged(path: Path, error: BaseException) -> ModelFileError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
    return ModelFileError(
        f"{path} is no whole checkpoint ({reason}); compare its size with the original and copy it again"
    )
