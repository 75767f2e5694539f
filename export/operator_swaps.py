"""What becomes one of our operators when a network is traced: modules, the user's own among them, and functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..core.errors import ContractError
from ..core.optional import require
from ..plugins.plugin_op import DOMAIN, DOMAIN_VERSION, PLUGIN_VERSION
from .deform_calls import PURPOSE, DeformCall, forwards_replaced, kind_of, redirected


@contextmanager
def operators_as_nodes(network: Any) -> Iterator[None]:
    """Let what is traced meanwhile become nodes of our domain, where it is a module of ``SWAPS`` or a known function.

    The classes of ``SWAPS`` have another ``forward`` meanwhile, for all threads; the modules stay the network's own,
    with their hooks, parametrisations and names. A subclass with a ``forward`` of its own keeps it, and becomes nodes
    where that calls its base or one of the functions. Errors of the nodes are ``ContractError``, raised in the trace.

    Args:
        network: What is traced; names the classes.
    """
    kinds = {kind for module in network.modules() for kind in type(module).__mro__ if kind_of(kind) in SWAPS}
    with forwards_replaced({kind: _by_position(kind) for kind in kinds}), redirected(_deform_node):
        yield


def _by_position(kind: Any) -> Callable[..., Any]:
    """Give the other ``forward`` of a class; it takes the names of the parameters the class has."""
    signature, swap = inspect.signature(kind.forward), SWAPS[kind_of(kind)]

    def forward(module: Any, *inputs: Any, **named: Any) -> Any:
        return swap(*signature.bind(module, *inputs, **named).args)

    return forward


def _node(operator: str, inputs: tuple[Any, ...], shape: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Give what the tracer turns into one node of our domain."""
    torch = require("torch", purpose=PURPOSE)
    marked = {**attributes, "plugin_namespace": DOMAIN, "plugin_version": PLUGIN_VERSION}
    name = f"{DOMAIN}::{operator}"
    dtype, version = inputs[0].dtype, DOMAIN_VERSION
    return torch.onnx.ops.symbolic(name, inputs, marked, dtype=dtype, shape=shape, version=version)


def _deform_node(call: DeformCall) -> Any:
    inputs = (call.x, call.offset, call.factors(), call.weight) + ((call.bias,) if call.bias is not None else ())
    shape = (call.x.shape[0], call.weight.shape[0], *call.offset.shape[2:])
    return _node("ModulatedDeformConv", inputs, shape, call.attributes())


def _deform_node_of(module: Any, x: Any, offset: Any, mask: Any = None) -> Any:
    """Trace a deformable convolution with the weights and settings of ``module``."""
    settings = (getattr(module, name, default) for name, default in (("stride", 1), ("padding", 0), ("dilation", 1)))
    return _deform_node(DeformCall(x, offset, module.weight, mask, getattr(module, "bias", None), *settings))


def _local_pool(module: Any, x: Any) -> Any:
    return _node("LocalAvgPool", (x,), tuple(x.shape), {"window": list(module.window)})


def _plain(module: Any, x: Any, offset: Any, mask: Any = None) -> Any:
    """The bare forms: offsets, and perhaps a mask, are given."""
    return _deform_node_of(module, x, offset, mask)


def _pack(module: Any, x: Any) -> Any:
    """Packs without a mask: offsets are found in what is sampled."""
    return _deform_node_of(module, x, _found(module, x))


def _modulated_pack(module: Any, x: Any, guide: Any = None) -> Any:
    """Packs with a mask, BasicSR's and ours with a guide: offsets and mask are found in other features."""
    torch = require("torch", purpose=PURPOSE)
    numbers = _found(module, x if guide is None else guide)
    moves = numbers.shape[1] // 3 * 2
    return _deform_node_of(module, x, numbers[:, :moves], torch.sigmoid(numbers[:, moves:]))


def _found(module: Any, guide: Any) -> Any:
    name = next((name for name in ("conv_offset_mask", "conv_offset") if hasattr(module, name)), None)
    if name is None:
        raise ContractError(f"{type(module).__name__} has no conv_offset or conv_offset_mask to find its offsets with")
    return getattr(module, name)(guide)


#: (package, class) -> its ``forward`` while a network is traced
SWAPS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("deblurrt", "LocalAvgPool2d"): _local_pool,
    ("deblurrt", "ModulatedDeformConv2d"): _modulated_pack,
    ("torchvision", "DeformConv2d"): _plain,
    ("mmcv", "DeformConv2d"): _plain,
    ("mmcv", "DeformConv2dPack"): _pack,
    ("mmcv", "ModulatedDeformConv2d"): _plain,
    ("mmcv", "ModulatedDeformConv2dPack"): _modulated_pack,
    ("basicsr", "DeformConv"): _plain,
    ("basicsr", "DeformConvPack"): _pack,
    ("basicsr", "ModulatedDeformConv"): _plain,
    ("basicsr", "ModulatedDeformConvPack"): _modulated_pack,
    ("basicsr", "DCNv2Pack"): _modulated_pack,
}
