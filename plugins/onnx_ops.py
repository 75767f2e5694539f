"""Our operators in ONNX files: nodes, bodies of standard operators, and the way back.

A file whose nodes have bodies runs everywhere: ONNX Runtime, and TensorRT without our plugins, take the
body; TensorRT with them takes the plugin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..core.errors import ContractError, ModelFileError, UsageError
from ..core.optional import require
from .ops import PLUGINS, plugin_op
from .plugin_op import BODY_OPSET, DOMAIN, DOMAIN_VERSION, LOWERINGS, PLUGIN_MARKS, RESULT, Attributes, Lowering

PURPOSE = "write operators of our own"


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Attributes) -> Any:
    """Make a node of our domain, named after its output; defaults and TensorRT's marks are written out.

    Args:
        operator: One of ``PLUGINS``.
        inputs: Names of values; the last may be missing where the operator has defaults for them.
        outputs: One name.
        attributes: Settings of the operator; those with a default may be missing.

    Returns:
        ``onnx.NodeProto``.

    Raises:
        ContractError: An attribute is missing, unknown or of another kind, or the number of inputs is wrong.
        KeyError: There is no such operator.
    """
    helper = require("onnx", purpose=PURPOSE).helper
    op = plugin_op(operator)
    least, most = len(op.inputs) - len(op.defaults), len(op.inputs)
    if not least <= len(inputs) <= most:
        raise ContractError(f"{operator} takes {', '.join(op.inputs)}, of which {least} must be given; got {inputs}")
    return helper.make_node(operator, inputs, outputs, name=outputs[0], domain=DOMAIN, **op.complete(attributes))


def function_of(operator: str, lowering: Lowering = "portable") -> Any:
    """Write the body of an operator; one without that lowering has its portable body.

    Returns:
        ``onnx.FunctionProto`` of the same name and domain, with attribute references; it needs all inputs
        and attributes, which ``add_bodies`` writes out at every node.

    Raises:
        KeyError: There is no such operator.
    """
    op = plugin_op(operator)
    return _parsed(operator, RESULT, op.bodies.get(lowering, op.bodies["portable"]))


def _parsed(operator: str, result: str, nodes: str) -> Any:
    op = plugin_op(operator)
    parser = require("onnx.parser", purpose=PURPOSE)
    attributes = ", ".join([*op.attributes, *PLUGIN_MARKS])
    return parser.parse_function(
        f'<opset_import: ["" : {BODY_OPSET}], domain: "{DOMAIN}"> '
        f"{operator} <{attributes}> ({', '.join(op.inputs)}) => ({result}) {{ {nodes} }}"
    )


def uses_plugins(model: Any) -> list[str]:
    """Name the operators of our domain that ``onnx.ModelProto`` has nodes of, subgraphs and functions included."""
    return sorted({entry.op_type for nodes in _node_lists(model) for entry in nodes if entry.domain == DOMAIN})


def _node_lists(model: Any) -> Iterator[Any]:
    """Yield every list of nodes but those of our own bodies."""
    waiting = [model.graph, *(function for function in model.functions if function.domain != DOMAIN)]
    while waiting:
        graph = waiting.pop()
        yield graph.node
        attributes = [attribute for entry in graph.node for attribute in entry.attribute]
        waiting += [attribute.g for attribute in attributes if attribute.HasField("g")]
        waiting += [graph for attribute in attributes for graph in attribute.graphs]


def add_bodies(model: Any, lowering: Lowering = "portable") -> Any:
    """Add the bodies of the operators a model uses, in place of those it has; changes the model and returns it.

    Nodes get every attribute, and nodes of standard operators for inputs they leave out: TensorRT's
    parser refuses a body with an open input.

    Args:
        model: ``onnx.ModelProto`` of opset 20 or later.
        lowering: ``portable``, or ``onnxruntime`` for what ONNX Runtime from 1.25 on is quickest with.

    Raises:
        UsageError: There is no such lowering.
        ModelFileError: The opset is older, or a node is of an operator we do not have or not as it takes it.
    """
    if lowering not in LOWERINGS:
        raise UsageError(f"lowering is {lowering!r}, expected one of {', '.join(LOWERINGS)}")
    strip_bodies(model)
    used = uses_plugins(model)
    if not used:
        return model
    _import_domain(model)
    opset = _opset(model)
    for nodes in _node_lists(model):
        completed = [made for entry in nodes for made in _completed(entry)]
        del nodes[:]
        nodes.extend(completed)
    for operator in used:
        function = function_of(operator, lowering)
        function.opset_import[0].version = opset
        model.functions.append(function)
    return model


def _import_domain(model: Any) -> None:
    if all(entry.domain != DOMAIN for entry in model.opset_import):
        model.opset_import.add(domain=DOMAIN, version=DOMAIN_VERSION)


def _opset(model: Any) -> int:
    opset = next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < BODY_OPSET:
        raise ModelFileError(
            f"the model is of opset {opset}, bodies of our operators need {BODY_OPSET}; export it with that opset"
        )
    return opset


def _completed(entry: Any) -> list[Any]:
    """Write out all attributes and inputs of a node of ours; gives it behind the nodes that make the inputs."""
    if entry.domain != DOMAIN:
        return [entry]
    name = entry.name or entry.output[0]
    if entry.op_type not in PLUGINS:
        raise ModelFileError(f"node {name!r} is of {DOMAIN}.{entry.op_type}, expected one of {', '.join(PLUGINS)}")
    value_of = require("onnx", purpose=PURPOSE).helper.get_attribute_value
    inputs = list(entry.input)
    while inputs and not inputs[-1]:
        inputs.pop()
    try:
        whole = node(entry.op_type, inputs, entry.output, {given.name: value_of(given) for given in entry.attribute})
    except ContractError as error:
        raise ModelFileError(f"node {name!r}: {error}; export the model again") from error
    makers = _default_inputs(whole)
    for made in (whole, *makers):
        made.metadata_props.extend(entry.metadata_props)
    whole.name, whole.doc_string = name, entry.doc_string
    return [*makers, whole]


def _default_inputs(whole: Any) -> list[Any]:
    """Connect the inputs a node leaves out; gives the nodes that make them, named after its output."""
    op = plugin_op(whole.op_type)
    names = dict(zip(op.inputs, whole.input, strict=False))
    makers: list[Any] = []
    for missing in op.inputs[len(whole.input) :]:
        for maker in _parsed(op.name, missing, op.defaults[missing]).node:
            maker.input[:] = [names.get(value, value) for value in maker.input]
            names |= {value: f"{whole.output[0]}.{value}" for value in maker.output}
            maker.output[:] = [names[value] for value in maker.output]
            maker.name = maker.output[0]
            makers.append(maker)
        whole.input.append(names[missing])
    return makers


def strip_bodies(model: Any) -> Any:
    """Take our bodies out, so that a missing plugin is an error; changes the model and returns it."""
    others = [function for function in model.functions if function.domain != DOMAIN]
    del model.functions[:]
    model.functions.extend(others)
    return model


def inline_bodies(model: Any) -> Any:
    """Copy a model with every node of ours replaced by its portable body, and other local functions likewise.

    Args:
        model: ``onnx.ModelProto`` of opset 20 or later; left as it is.

    Returns:
        ``onnx.ModelProto`` of standard operators, for OpenVINO and for tools that know no functions.

    Raises:
        ModelFileError: As for ``add_bodies``.
    """
    onnx = require("onnx", purpose=PURPOSE)
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    inlined = require("onnx.inliner", purpose=PURPOSE).inline_local_functions(add_bodies(whole))
    imports = [entry for entry in inlined.opset_import if entry.domain != DOMAIN]
    del inlined.opset_import[:]
    inlined.opset_import.extend(imports)
    return inlined
