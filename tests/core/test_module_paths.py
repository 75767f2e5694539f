"""Paths of modules in the metadata of nodes, as the tracer writes them and as someone might edit them."""

from __future__ import annotations

import pytest
from onnx import helper

from deblurrt.core.module_paths import SCOPES_KEY, module_of, scopes_of


@pytest.mark.parametrize(
    ("text", "scopes"),
    [
        ("['', 'body', 'body.3', 'relu']", ("", "body", "body.3")),
        ("['', 'relu']", ("",)),
        ("['relu']", ()),
        ("[]", ()),
        ("", ()),
        ("body.3", ()),
        ("[" * 100_000, ()),
        ("__import__('os')", ()),
        ("3", ()),
    ],
    ids=range(9),
)
def test_scopes_are_what_lies_around_the_operation(text: str, scopes: tuple[str, ...]) -> None:
    node = helper.make_node("Relu", ["a"], ["b"])
    node.metadata_props.add(key=SCOPES_KEY, value=text)
    assert scopes_of(node) == scopes
    assert module_of(node) == (scopes[-1] if scopes else "")


def test_node_without_metadata_is_of_no_module() -> None:
    assert scopes_of(helper.make_node("Relu", ["a"], ["b"])) == ()
