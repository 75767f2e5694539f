from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from deblurrt.core.errors import BackendError, ContractError
from deblurrt.core.tensors import Array
from deblurrt.export.bisection import Divergence, first_divergence, first_divergence_between
from deblurrt.export.graph_scopes import ScopedGraph

#: what is added to one weight: far above rounding, far below what a picture would show at a glance
DAMAGE = 0.05


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = nn.LeakyReLU(0.1, inplace=True)
        self.narrow = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = x + 0.5 * self.narrow(self.act(self.wide(x)))
        return changed


class Halves(nn.Module):
    """Gives two tensors of one shape, which cannot be told apart, and one of another."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        first, second = self.mix(x).chunk(2, 1)
        return first, [second, x[:, :1] * 0.5]


class Net(nn.Module):
    """Residual blocks, one called twice, a branch, a norm that the exporter folds away, two paths to one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(Block(8), Block(8))
        self.twice = Block(8)
        self.side = nn.Conv2d(8, 8, 1)
        self.folded = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        self.nothing = nn.Identity()
        self.halves = Halves(8)
        self.tail = nn.Conv2d(9, 12, 3, padding=1)
        self.same_tail = nn.Sequential(self.tail)
        self.up = nn.PixelShuffle(2)

    def forward(self, frames: Tensor) -> Tensor:
        features = self.body(self.head(frames))
        features = self.twice(self.twice(features)) + self.side(features).sigmoid()
        first, (second, third) = self.halves(self.nothing(self.folded(features)))
        drawn: Tensor = self.up(self.same_tail(torch.cat([second, first, third], 1)) + 0.1)
        return drawn


@pytest.fixture(scope="module")
def network() -> Net:
    torch.manual_seed(0)
    network = Net().eval()
    norm: Any = network.folded[1]
    norm.running_mean.fill_(0.3)
    norm.running_var.fill_(2.0)
    return network


@pytest.fixture(scope="module")
def exported(network: Net) -> bytes:
    shape = {0: "batch", 2: "height", 3: "width"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own deprecations
        program = torch.onnx.export(
            network,
            (torch.rand(2, 3, 16, 24),),
            dynamo=True,
            dynamic_shapes=(shape,),
            opset_version=20,
            input_names=["frames"],
            output_names=["restored"],
            verbose=False,
        )
    assert program is not None
    written: bytes = program.model_proto.SerializeToString()
    return written


@pytest.fixture
def model(exported: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.ParseFromString(exported)
    return model


@pytest.fixture(scope="module")
def frames() -> Array:
    return np.random.default_rng(0).random((1, 3, 12, 20), np.float32)


def constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    tensor: onnx.TensorProto = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    return tensor


def damage(model: onnx.ModelProto, name: str, by: float = DAMAGE) -> None:
    """Add to one weight of an initialiser."""
    tensor = constant(model, name)
    weights = numpy_helper.to_array(tensor).copy()
    weights.flat[0] += by
    tensor.CopyFrom(numpy_helper.from_array(weights, name))


def found(network: Net, model: onnx.ModelProto, frames: Array) -> Divergence:
    divergence = first_divergence(network, model, frames)
    assert divergence is not None
    return divergence


def test_undamaged_graph_diverges_nowhere(network: Net, model: onnx.ModelProto, frames: Array) -> None:
    assert first_divergence(network, model, frames) is None


@pytest.mark.parametrize(
    "module", ["head", "body.0.wide", "body.0.narrow", "body.1.narrow", "side", "halves.mix", "same_tail.0"]
)
def test_module_of_a_damaged_weight_is_named(network: Net, model: onnx.ModelProto, frames: Array, module: str) -> None:
    damage(model, f"{module}.weight")
    divergence = found(network, model, frames)
    assert (divergence.module, divergence.operator) == (module, "Conv")
    assert 0 < divergence.max_abs <= 2 * DAMAGE


def test_inner_module_is_named_before_the_one_around_it(network: Net, model: onnx.ModelProto, frames: Array) -> None:
    damage(model, "body.1.narrow.bias")
    assert found(network, model, frames).module == "body.1.narrow"


def test_first_call_of_a_module_called_twice_is_named(network: Net, model: onnx.ModelProto, frames: Array) -> None:
    damage(model, "twice.wide.weight")
    divergence = found(network, model, frames)
    assert (divergence.module, divergence.call, divergence.calls) == ("twice.wide", 1, 2)


def test_second_call_is_named_where_only_that_is_damaged(network: Net, model: onnx.ModelProto, frames: Array) -> None:
    second = [node for node in model.graph.node if "twice.wide.weight" in node.input][1]
    weights = numpy_helper.to_array(constant(model, "twice.wide.weight")) + np.float32(DAMAGE)
    model.graph.initializer.append(numpy_helper.from_array(weights, "other"))
    second.input[1] = "other"
    divergence = found(network, model, frames)
    assert (divergence.module, divergence.call, divergence.node) == ("twice.wide", 2, second.name)


def test_whole_block_is_named_where_its_own_arithmetic_differs(
    network: Net, model: onnx.ModelProto, frames: Array
) -> None:
    adds = [node for node in model.graph.node if node.op_type == "Add" and node.input[0] == "conv2d"]
    adds[0].op_type = "Sub"
    assert found(network, model, frames).module == "body.0"


def test_network_itself_is_named_where_no_module_differs(network: Net, model: onnx.ModelProto, frames: Array) -> None:
    shuffle = next(node for node in model.graph.node if node.op_type == "DepthToSpace")
    negative = helper.make_node("Neg", ["shuffled"], [shuffle.output[0]], "minus")
    shuffle.output[0] = "shuffled"
    model.graph.node.append(negative)
    divergence = found(network, model, frames)
    assert (divergence.module, divergence.node, divergence.operator) == ("", "minus", "Neg")
    assert divergence.describe().startswith("the network itself is the first to differ, by ")


def test_norm_folded_into_a_convolution_is_no_divergence(network: Net, model: onnx.ModelProto, frames: Array) -> None:
    assert "BatchNormalization" not in [node.op_type for node in model.graph.node]
    damage(model, "same_tail.0.weight")
    assert found(network, model, frames).module == "same_tail.0"


def test_module_computed_in_another_way_is_passed_over(network: Net, model: onnx.ModelProto, frames: Array) -> None:
    for name, factor in (("wide.weight", 2), ("wide.bias", 2), ("narrow.weight", 0.5)):
        tensor = constant(model, f"body.0.{name}")
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))
    assert first_divergence(network, model, frames) is None
    damage(model, "body.1.wide.weight")
    assert found(network, model, frames).module == "body.1.wide"


def test_node_without_scopes_counts_to_the_modules_around_it(model: onnx.ModelProto) -> None:
    graph = ScopedGraph(model)
    split = next(node for node in model.graph.node if node.op_type == "Split")
    assert not any("name_scopes" in entry.key for entry in split.metadata_props)
    assert graph.module_of(split.output[0]) == "halves"


def test_graph_without_scopes_still_tells_whether_outputs_agree(
    network: Net, model: onnx.ModelProto, frames: Array
) -> None:
    for node in model.graph.node:
        del node.metadata_props[:]
    assert first_divergence(network, model, frames) is None
    damage(model, "head.weight")
    assert found(network, model, frames).module == ""


def test_infinity_is_a_divergence(network: Net, model: onnx.ModelProto, frames: Array) -> None:
    damage(model, "body.1.wide.weight", by=np.inf)
    divergence = found(network, model, frames)
    assert (divergence.module, divergence.max_abs) == ("body.1.wide", np.inf)


def test_graph_and_network_stay_as_they_were(
    network: Net, model: onnx.ModelProto, exported: bytes, frames: Array
) -> None:
    first_divergence(network, model, frames)
    assert model.SerializeToString() == exported
    assert not any(module._forward_hooks for module in network.modules())


def test_graph_of_another_output_shape_is_refused(network: Net, model: onnx.ModelProto, frames: Array) -> None:
    shuffle = next(node for node in model.graph.node if node.op_type == "DepthToSpace")
    shuffle.op_type = "Identity"
    del shuffle.attribute[:]
    with pytest.raises(ContractError, match=r"output 'restored' \[1, 12, 12, 20\] of the graph has no counterpart"):
        first_divergence(network, model, frames)


def test_graph_that_cannot_run_is_a_backend_error(network: Net, model: onnx.ModelProto, frames: Array) -> None:
    model.graph.node[0].domain = "nowhere"
    with pytest.raises(BackendError, match="ONNX Runtime cannot run the graph"):
        first_divergence(network, model, frames)


def chain(scale: float, bias: float) -> onnx.ModelProto:
    """``restored = relu(frames * scale) + bias``, with a shape computed on the side."""
    nodes = [
        helper.make_node("Mul", ["frames", "scale"], ["scaled"], "scaling"),
        helper.make_node("Relu", ["scaled"], ["positive"], "relu"),
        helper.make_node("Shape", ["positive"], ["shape"], "shape"),
        helper.make_node("Reshape", ["positive", "shape"], ["same"], "reshape"),
        helper.make_node("Add", ["same", "bias"], ["restored"], "lift"),
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info("restored", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [
            numpy_helper.from_array(np.array(number, np.float32), name)
            for name, number in (("scale", scale), ("bias", bias))
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_equal_graphs_diverge_nowhere(frames: Array) -> None:
    assert first_divergence_between(chain(2, 1), chain(2, 1), {"frames": frames}) is None


@pytest.mark.parametrize(("scale", "bias", "node"), [(2.1, 1, "scaling"), (2, 1.1, "lift")])
def test_first_tensor_that_differs_is_named(frames: Array, scale: float, bias: float, node: str) -> None:
    divergence = first_divergence_between(chain(2, 1), chain(scale, bias), {"frames": frames})
    assert divergence is not None
    assert divergence.node == node
    assert divergence.max_abs == pytest.approx(0.1 * (frames.max() if node == "scaling" else 1), rel=1e-4)


def test_tensor_that_no_output_depends_on_is_no_divergence(frames: Array) -> None:
    other = chain(2, 1)
    # negative values differ, and relu drops them
    other.graph.node[0].op_type, other.graph.node[0].input[:] = "Identity", ["frames"]
    dark = -frames
    assert first_divergence_between(chain(2, 1), other, {"frames": dark}) is None


def test_half_precision_passes_with_its_own_tolerance(frames: Array) -> None:
    other = chain(2, 1)
    casts = [
        helper.make_node("Cast", ["exact"], ["half"], "to_half", to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["half"], ["scaled"], "to_float", to=TensorProto.FLOAT),
    ]
    other.graph.node[0].output[0] = "exact"
    for place, cast in enumerate(casts, start=1):
        other.graph.node.insert(place, cast)
    divergence = first_divergence_between(chain(2, 1), other, {"frames": frames})
    assert divergence is not None
    assert divergence.node == "to_float"
    assert first_divergence_between(chain(2, 1), other, {"frames": frames}, tolerance=1e-2) is None


def test_graphs_of_other_outputs_are_refused(frames: Array) -> None:
    other = chain(2, 1)
    other.graph.node[-1].output[0] = other.graph.output[0].name = "sharp"
    with pytest.raises(ContractError, match="output 'sharp'"):
        first_divergence_between(chain(2, 1), other, {"frames": frames})
