"""Networks of the user's own: ``package.module:factory``."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.causes import cause
from ..core.errors import UsageError
from ..core.optional import require

if TYPE_CHECKING:
    from ..models.network import DeblurNetwork


def users_network(model: str, seed: int) -> DeblurNetwork:
    """Call ``package.module:factory``; a module that says nothing of its frames gets the plainest contract.

    Args:
        model: ``package.module:factory``; the module may lie in the current folder.
        seed: Of the random numbers the factory draws; the process's own are left alone.

    Raises:
        UsageError: The factory cannot be imported or fails, gives something else than a network, or one
            whose contract is none.
    """
    torch = require("torch", purpose=f"run the network {model}")
    from ..models.network_facts import contract_of_network, tell

    with _current_folder():
        factory = _imported(model)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                network = factory()
        except Exception as error:  # whatever the user's code raises
            raise UsageError(
                f"{model} fails when it is called without arguments: {_kind(error)}{cause(error)}"
            ) from error
    if not isinstance(network, torch.nn.Module):
        raise UsageError(f"{model} gives a {type(network).__name__}, expected a torch.nn.Module")
    network.contract = contract_of_network(network)
    tell(network, "seed", seed)
    users: DeblurNetwork = network
    return users


def _imported(model: str) -> Any:
    module, _, attribute = model.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever the user's module raises
        raise UsageError(
            f"{model} cannot be imported ({_kind(error)}{cause(error)}); expected package.module:factory"
        ) from error


def _kind(error: Exception) -> str:
    """Name the kind of an error whose text alone says little; it ends with a colon."""
    return "" if isinstance(error, (ImportError, AttributeError, TypeError)) else f"{type(error).__name__}: "


@contextlib.contextmanager
def _current_folder() -> Iterator[None]:
    """Find modules in the current folder, as ``python -m`` does."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        # by name: the user's module may have put another folder first
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
