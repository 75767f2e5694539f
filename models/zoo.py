"""The networks one can ask for by name; needs no torch until one is made."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

from ..core.errors import UsageError
from ..core.optional import require

if TYPE_CHECKING:
    from .network import DeblurNetwork

#: name -> (module, factory); a factory takes the options and gives a DeblurNetwork
ZOO: dict[str, tuple[str, str]] = {
    "wrcan": ("wrcan", "Wrcan"),
    "edpn_sr": ("edpn", "EdpnSr"),
    "edpn_deblock": ("edpn", "EdpnDeblock"),
    "edpn_sr_13m": ("edpn", "EdpnSr13m"),
    "eacd": ("eacd", "Eacd"),
    "carlo_net": ("carlo_net", "CarloNet"),
    "kaist_net": ("kaist_net", "KaistNet"),
    "atrous_net": ("atrous_net", "AtrousNet"),
    "mprnet": ("mprnet", "MprNet"),
    "mprnet_sr": ("mprnet_sr", "MprNetSr"),
}


def create_model(name: str, *, seed: int | None = 0, **options: Any) -> DeblurNetwork:
    """Make a network of the zoo, in evaluation mode.

    >>> create_model("kaist_net", in_frames=3).contract.window
    3

    Args:
        name: In ``ZOO``.
        seed: Start of its random weights, with offsets that move and biases that are not zero, so
            that every part of it is at work; None leaves the authors' initialisation, for training.
            Ignored under ``torch.device("meta")``.
        options: Of the network; ``docs/models.md`` lists them.

    Raises:
        UsageError: There is no such network or it has no such option.
        MissingExtraError: torch is not installed.
    """
    if name not in ZOO:
        raise UsageError(f"no network called {name!r}; the zoo has {', '.join(ZOO)}")
    torch = require("torch", purpose=f"make the network {name}")
    module, attribute = ZOO[name]
    factory = getattr(importlib.import_module(f".{module}", __package__), attribute)
    known = list(inspect.signature(factory).parameters)
    if unknown := sorted(set(options) - set(known)):
        raise UsageError(f"{name} has no option {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        model: DeblurNetwork = factory(**options)
    model.architecture, model.options = name, options
    if seed is not None and not any(parameter.is_meta for parameter in model.parameters()):
        from .seeding import seed_weights

        seed_weights(model, seed)
    return model.eval()
