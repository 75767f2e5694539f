"""Modules that become one of our operators when a network is traced, the user's own among them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from ..core.errors import ContractError
from ..core.optional import require
from ..plugins.plugin_op import DOMAIN, DOMAIN_VERSION, PLUGIN_VERSION

Swap = Callable[[Any], Any]


def swapped(network: Any) -> Any:
    """Copy a network with every module of ``SWAPS`` replaced by one that traces to our operator.

    Modules are known by the names of their class and its bases, so that torchvision, mmcv and BasicSR
    need not be installed.

    Raises:
        ContractError: A module has a setting our operator lacks.
    """
    traced = copy.deepcopy(network)
    if (swap := _swap_of(traced)) is not None:
        return swap(traced)
    for path, module in list(traced.named_modules()):
        if (swap := _swap_of(module)) is not None:
            parent, _, name = path.rpartition(".")
            setattr(traced.get_submodule(parent), name, swap(module))
    return traced


def _swap_of(module: Any) -> Swap | None:
    for kind in type(module).__mro__:
        package, name = kind.__module__.partition(".")[0], kind.__name__
        if (package, name) in SWAPS:
            return SWAPS[package, name]
    return None


def _node(operator: str, inputs: tuple[Any, ...], shape: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    """Give what the tracer turns into one node of our domain."""
    torch = require("torch", purpose="export a network")
    marked = {**attributes, "plugin_namespace": DOMAIN, "plugin_version": PLUGIN_VERSION}
    name = f"{DOMAIN}::{operator}"
    dtype, version = inputs[0].dtype, DOMAIN_VERSION
    return torch.onnx.ops.symbolic(name, inputs, marked, dtype=dtype, shape=shape, version=version)


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else [int(side) for side in value]


def _deform_node(x: Any, offset: Any, mask: Any, module: Any) -> Any:
    """Trace a deformable convolution with the settings of ``module``."""
    tall, wide = offset.shape[2:]
    taps = module.weight.shape[2] * module.weight.shape[3]
    attributes = {
        "strides": _pair(getattr(module, "stride", 1)),
        "pads": _pair(getattr(module, "padding", 0)),
        "dilations": _pair(getattr(module, "dilation", 1)),
        "groups": x.shape[1] // module.weight.shape[1],
        "offset_groups": offset.shape[1] // (2 * taps),
    }
    inputs = (x, offset, mask, module.weight) + ((module.bias,) if module.bias is not None else ())
    shape = (x.shape[0], module.weight.shape[0], tall, wide)
    return _node("ModulatedDeformConv", inputs, shape, attributes)


def _wrap(module: Any, forward: Callable[..., Any]) -> Any:
    """Keep a module and its parameters, with another forward."""
    base: Any = require("torch.nn", purpose="export a network").Module

    class Traced(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            # parameters stay where they were, so that their names in the file are the network's
            for name, parameter in module.named_parameters(recurse=False):
                self.register_parameter(name, parameter)
            for name, child in module.named_children():
                self.add_module(name, child)

        def forward(self, *inputs: Any) -> Any:
            return forward(self, *inputs)

    traced = Traced()
    for name in ("stride", "padding", "dilation", "bias"):
        if not hasattr(traced, name) and hasattr(module, name):
            setattr(traced, name, getattr(module, name))
    return traced.eval()


def _local_pool(module: Any) -> Any:
    window = list(module.window)
    return _wrap(module, lambda _, x: _node("LocalAvgPool", (x,), tuple(x.shape), {"window": window}))


def _offsets_in_thirds(found: Any) -> tuple[Any, Any]:
    """Split what an offset convolution found: offsets, and the mask through the sigmoid."""
    torch = require("torch", purpose="export a network")
    moves = found.shape[1] // 3 * 2
    return found[:, :moves], torch.sigmoid(found[:, moves:])


def _guided_deform_conv(module: Any) -> Any:
    """EDVR's and BasicSR's pack, and ours: offsets are found in other features, by ``conv_offset(_mask)``."""
    name = next((name for name in ("conv_offset_mask", "conv_offset") if hasattr(module, name)), None)
    if name is None:
        raise ContractError(f"{type(module).__name__} has no conv_offset or conv_offset_mask to find its offsets with")

    def forward(traced: Any, x: Any, *guide: Any) -> Any:
        offset, mask = _offsets_in_thirds(getattr(traced, name)(guide[0] if guide else x))
        return _deform_node(x, offset, mask, traced)

    return _wrap(module, forward)


def _plain_deform_conv(module: Any) -> Any:
    """Torchvision's and mmcv's bare forms: offsets, and perhaps a mask, are given."""

    def forward(traced: Any, x: Any, offset: Any, mask: Any = None) -> Any:
        torch = require("torch", purpose="export a network")
        if mask is None:
            taps = traced.weight.shape[2] * traced.weight.shape[3]
            groups = offset.shape[1] // (2 * taps)
            mask = torch.ones_like(offset[:, : groups * taps])
        return _deform_node(x, offset, mask, traced)

    return _wrap(module, forward)


#: (package, class) -> what makes the traced form; torchvision also has a function, see ``torch_exporter``
SWAPS: dict[tuple[str, str], Swap] = {
    ("deblurrt", "LocalAvgPool2d"): _local_pool,
    ("deblurrt", "ModulatedDeformConv2d"): _guided_deform_conv,
    ("torchvision", "DeformConv2d"): _plain_deform_conv,
    ("mmcv", "ModulatedDeformConv2dPack"): _guided_deform_conv,
    ("mmcv", "ModulatedDeformConv2d"): _plain_deform_conv,
    ("basicsr", "ModulatedDeformConvPack"): _guided_deform_conv,
    ("basicsr", "DCNv2Pack"): _guided_deform_conv,
    ("basicsr", "ModulatedDeformConv"): _plain_deform_conv,
}
