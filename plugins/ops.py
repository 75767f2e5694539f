"""The table of operators; each is imported on use."""

from __future__ import annotations

import importlib

from .plugin_op import PluginOp

#: type of a node in the domain ``deblurrt`` -> (module, attribute)
PLUGINS: dict[str, tuple[str, str]] = {
    "LocalAvgPool": ("local_avg_pool", "LOCAL_AVG_POOL"),
    "ModulatedDeformConv": ("modulated_deform_conv", "MODULATED_DEFORM_CONV"),
}


def plugin_op(name: str) -> PluginOp:
    """Look up an operator.

    Raises:
        KeyError: There is none of that name.
    """
    module, attribute = PLUGINS[name]
    op = getattr(importlib.import_module(f".{module}", __package__), attribute)
    assert isinstance(op, PluginOp)
    return op
