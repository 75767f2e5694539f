"""Which module of a network a node of its graph comes from, as PyTorch's exporter notes it in the node's metadata."""

from __future__ import annotations

import ast
from typing import Any

#: metadata of a node: a list of module paths, outermost first, with the operation last
SCOPES_KEY = "pkg.torch.onnx.name_scopes"


def scopes_of(node: Any) -> tuple[str, ...]:
    """Read the paths of the modules around a node, outermost first; the whole network is ``""``.

    Args:
        node: ``onnx.NodeProto``.

    Returns:
        Empty where the node does not say, or says something else.
    """
    text = next((entry.value for entry in node.metadata_props if entry.key == SCOPES_KEY), "[]")
    try:
        scopes = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # someone edited the file
        return ()
    return tuple(map(str, scopes[:-1])) if isinstance(scopes, list) else ()


def module_of(node: Any) -> str:
    """Path of the innermost module around a node; empty where the node does not say."""
    return (scopes_of(node) or ("",))[-1]
