"""What a network says of itself, taken only where it is of the kind that is meant.

A module of the user's own may have a layer called ``weights`` or a table called ``options``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.contract import FrameContract
from ..core.errors import UsageError
from .tlsc_config import TlscConfig

if TYPE_CHECKING:
    from torch import nn

#: name -> kind of what networks of the zoo say of themselves
KINDS: dict[str, type] = {"weights": str, "architecture": str, "options": dict, "tlsc": TlscConfig, "seed": int}
#: what these are called in a network whose own attributes have the names already
PREFIX = "deblurrt_"


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What is known of a network.

    Attributes:
        contract: What it needs of frames.
        name: In the zoo; of its class for others.
        weights: Where they come from; empty where it does not say.
        options: What it was made with, as JSON can hold it; empty where it does not say.
        tlsc: How its global pools were replaced.
        seed: Of the random numbers its factory drew; None where that is not known.
    """

    contract: FrameContract
    name: str
    weights: str
    options: dict[str, Any]
    tlsc: TlscConfig | None
    seed: int | None


def facts_of(network: nn.Module) -> NetworkFacts:
    """Read what a network says of itself; one without a contract has the plainest.

    Raises:
        UsageError: Its contract is none, or one for files.
    """
    options = _told(network, "options") or {}
    return NetworkFacts(
        contract_of_network(network),
        _told(network, "architecture") or type(network).__name__,
        _told(network, "weights") or "",
        options if _fits_json(options) else {},
        _told(network, "tlsc"),
        _told(network, "seed"),
    )


def contract_of_network(network: nn.Module) -> FrameContract:
    """What a network needs of frames.

    Raises:
        UsageError: Its attribute ``contract`` is something else, or says that it takes bytes.
    """
    contract = getattr(network, "contract", None)
    name = type(network).__name__
    if contract is None:
        return FrameContract(io="float")
    if not isinstance(contract, FrameContract):
        raise UsageError(
            f"the attribute contract of {name} is a {type(contract).__name__}, expected a FrameContract; set "
            "network.contract = FrameContract(io='float'), or give what is there another name"
        )
    if contract.io != "float":
        raise UsageError(
            f"the contract of {name} says io={contract.io!r}, a network takes and gives floats; "
            "set network.contract = FrameContract(io='float')"
        )
    return contract


def tell(network: nn.Module, name: str, value: Any) -> None:
    """Let a network say something of itself, beside an attribute of its own that has the same name.

    Args:
        network: Changed.
        name: Of ``KINDS``.
        value: Of that kind.
    """
    is_ours = name != "seed" and isinstance(getattr(network, name, value), KINDS[name] | None)
    setattr(network, name if is_ours else PREFIX + name, value)


def _told(network: nn.Module, name: str) -> Any:
    names = (PREFIX + name,) if name == "seed" else (PREFIX + name, name)
    values = (getattr(network, key, None) for key in names)
    return next((value for value in values if isinstance(value, KINDS[name])), None)


def _fits_json(values: dict[Any, Any]) -> bool:
    try:
        json.dumps(values, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
