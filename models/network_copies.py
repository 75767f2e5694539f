"""Copies of networks that leave the network itself as it is."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.utils import remove_weight_norm
from torch.nn.utils.weight_norm import WeightNorm

from ..core.causes import cause
from ..core.errors import UsageError

Network = TypeVar("Network", bound=nn.Module)


def inference_copy(network: Network) -> Network:
    """Copy a network into evaluation mode.

    Weights that are computed anew in each run, as by ``torch.nn.utils.weight_norm``, may depend on
    others; copies of them are plain values until the copy runs.

    Raises:
        UsageError: Something in it cannot be copied.
    """
    computed = [
        value
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    known = {id(tensor): tensor.detach().clone() for tensor in computed}
    try:
        return copy.deepcopy(network, known).eval()
    except Exception as error:  # whatever the user's own objects raise
        raise UsageError(
            f"{type(network).__name__} cannot be copied ({cause(error)}); "
            "let it hold nothing that copy.deepcopy refuses"
        ) from error


def without_weight_norm(network: Network) -> Network:
    """Copy a network with the weights that ``torch.nn.utils.weight_norm`` would compute; the tracer cannot."""
    plain = inference_copy(network)
    for module in plain.modules():
        names = [hook.name for hook in module._forward_pre_hooks.values() if isinstance(hook, WeightNorm)]
        for name in names:
            remove_weight_norm(module, name)
    return plain
