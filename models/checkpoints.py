"""Checkpoints of the authors: loaded strictly, recognised, and given back in their layout."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import ModelFileError, UsageError
from ..core.optional import require
from .network_facts import facts_of, tell
from .weight_files import file_sha256, is_keras, read_state
from .zoo import ZOO, create_model

if TYPE_CHECKING:
    from torch import Tensor

    from .network import DeblurNetwork

#: keys listed in an error before it says how many more
LISTED = 3


def load_checkpoint(model: DeblurNetwork, path: str | Path) -> None:
    """Load the authors' checkpoint into a network, every key of it, and mark the network with its hash.

    PyTorch files (bare, wrapped, ``module.`` prefixes), safetensors and Keras HDF5 are told apart by
    their content. PyTorch files are read with ``weights_only=True``.

    Raises:
        ModelFileError: The file is missing or damaged, or keys or shapes differ from the network's.
    """
    path = Path(path)
    if is_keras(path):
        path = _load_keras(model, path)
    else:
        state = read_state(path)
        _check_keys(model, state, path)
        _check_copies(model, state, path)
        model.load_state_dict(state)
    tell(model, "weights", file_sha256(path))
    model.eval()


def model_from_checkpoint(path: str | Path, name: str | None = None) -> DeblurNetwork:
    """Make the network a checkpoint is of, with options read off its tensors, and load it.

    Args:
        path: As for ``load_checkpoint``.
        name: Name in the zoo, where several networks share a layout; the first that fits if None.

    Raises:
        ModelFileError: The checkpoint is missing, damaged or of no network of the zoo, or of another
            than ``name``.
        UsageError: There is no network ``name``.
    """
    path = Path(path)
    if name is not None and name not in ZOO:
        raise UsageError(f"no network called {name!r}; the zoo has {', '.join(ZOO)}")
    found = dict(_recognised_keras(path) if is_keras(path) else recognised(read_state(path)))
    if not found or (name is not None and name not in found):
        what = f"of {', '.join(found)}, not of {name}" if found else f"of none of {', '.join(ZOO)}"
        raise ModelFileError(f"{path} is {what}; give the network's own checkpoint")
    name = name or next(iter(found))
    model = create_model(name, seed=None, **found[name])
    load_checkpoint(model, path)
    return model


def official_state_dict(model: DeblurNetwork) -> dict[str, Tensor]:
    """Give a network's weights with the authors' names and axis order, each tensor a copy.

    For the three networks that come from Keras the names are ``conv2d_3/kernel:0`` and kernels
    are ``[height, width, in, out]`` (``[height, width, out, in]`` where transposed).

    Raises:
        UsageError: The network was folded or otherwise changed, so that it has no such layout.
    """
    from .keras_network import KerasNetwork, keras_state_dict

    if isinstance(model, KerasNetwork):
        return keras_state_dict(model)
    state = model.state_dict()
    if type(model).options_of(state) is None:
        raise UsageError(f"this {model.architecture or type(model).__name__} was changed and has no official layout")
    return {key: tensor.detach().clone() for key, tensor in state.items()}


def recognised(state: Mapping[str, Tensor]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name in the zoo and the options of each network whose layout a state dict has."""
    for name, network in _classes():
        options = network.options_of(state)
        if options is not None:
            yield name, options


def _classes() -> Iterator[tuple[str, type[DeblurNetwork]]]:
    for name, (module, attribute) in ZOO.items():
        yield name, getattr(importlib.import_module(f".{module}", __package__), attribute)


def _recognised_keras(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    from .keras_network import KerasNetwork
    from .keras_weights import read_keras_weights

    weights = read_keras_weights(path)
    for name, network in _classes():
        options = network.options_of_keras(weights) if issubclass(network, KerasNetwork) else None
        if options is not None:
            yield name, options


def _load_keras(model: DeblurNetwork, path: Path) -> Path:
    """Load Keras' weights; return their file, which a ``model.json`` only stands for."""
    from .keras_network import KerasNetwork, fill_from_keras
    from .keras_weights import read_keras_weights

    weights = read_keras_weights(path)
    if not isinstance(model, KerasNetwork):
        raise ModelFileError(
            f"{path} holds Keras weights, {_name(model)} has none{_fitting(dict(_recognised_keras(path)))}"
        )
    fill_from_keras(model, weights)
    return weights.path


def _check_keys(model: DeblurNetwork, state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a checkpoint with other keys or shapes than the network's."""
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    got = {key: tuple(tensor.shape) for key, tensor in state.items()}
    missing, extra = sorted(wanted.keys() - got.keys()), sorted(got.keys() - wanted.keys())
    reshaped = [key for key in wanted if key in got and wanted[key] != got[key]]
    if not (missing or extra or reshaped):
        return
    faults = []
    if missing:
        near = {key: difflib.get_close_matches(key, extra, 1) for key in missing[:LISTED]}
        named = [f"{key} (is it {match[0]}?)" if match else key for key, match in near.items()]
        faults.append(f"missing {_listed(named, len(missing))}")
    if extra:
        faults.append(f"unexpected {_listed(extra[:LISTED], len(extra))}")
    if reshaped:
        shapes = [f"{key} {list(got[key])} instead of {list(wanted[key])}" for key in reshaped[:LISTED]]
        faults.append(f"other shapes: {_listed(shapes, len(reshaped))}")
    raise ModelFileError(
        f"{path} does not fit {_name(model)}: {'; '.join(faults)}{_fitting(dict(recognised(state)), state)}"
    )


def _check_copies(model: DeblurNetwork, state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a checkpoint that gives several values to one parameter the network has under several names."""
    torch = require("torch", purpose="load a checkpoint")
    first_of: dict[int, str] = {}
    for key, tensor in model.state_dict(keep_vars=True).items():
        first = first_of.setdefault(id(tensor), key)
        if not torch.equal(state[first], state[key]):
            raise ModelFileError(
                f"{path}: {first} and {key} are one parameter of {_name(model)} and differ in the file"
            )


def _name(model: DeblurNetwork) -> str:
    facts = facts_of(model)
    return f"{facts.name}({', '.join(f'{key}={value}' for key, value in facts.options.items())})"


def _fitting(found: dict[str, dict[str, Any]], state: Mapping[str, Tensor] | None = None) -> str:
    """Say which network of the zoo a checkpoint fits, and that all of its keys do where ``state`` is given."""
    for name, options in found.items():
        if state is None or _fits(name, options, state):
            given = [repr(name), *(f"{key}={value!r}" for key, value in options.items())]
            return f"; it fits create_model({', '.join(given)})"
    return "; it fits no network of the zoo"


def _fits(name: str, options: dict[str, Any], state: Mapping[str, Tensor]) -> bool:
    torch = require("torch", purpose="recognise a checkpoint")
    with torch.device("meta"):
        wanted = create_model(name, **options).state_dict()
    return {key: value.shape for key, value in wanted.items()} == {key: value.shape for key, value in state.items()}


def _listed(names: list[str], count: int) -> str:
    more = f" and {count - len(names)} more" if count > len(names) else ""
    return ", ".join(names) + more
