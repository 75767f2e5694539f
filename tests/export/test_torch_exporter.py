"""Tracing networks into float graphs."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import UsageError
from deblurrt.core.module_paths import SCOPES_KEY
from deblurrt.core.optional import require
from deblurrt.export.torch_exporter import float_graph
from deblurrt.models import create_model
from deblurrt.models.network import DeblurNetwork
from tests.models.small_zoo import SMALL

#: sums in another order; values are about one
TOLERANCE = 1e-5
#: without nodes of our domain, whose bodies are added later
PLAIN = ["wrcan", "carlo_net", "atrous_net"]


onnxruntime = require("onnxruntime", purpose="run a graph")


def run(model: onnx.ModelProto, frames: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    restored: np.ndarray = session.run(None, {"frames": frames.numpy()})[0]
    return restored


@cache
def traced(name: str) -> tuple[DeblurNetwork, onnx.ModelProto]:
    """A small network and its graph; tracing takes seconds."""
    network = create_model(name, **SMALL[name])
    return network, float_graph(network, network.contract)


@pytest.mark.parametrize("name", PLAIN)
def test_graph_computes_what_the_network_does_at_any_size(name: str) -> None:
    network, model = traced(name)
    onnx.checker.check_model(model, full_check=True)
    for batch, height, width in ((1, 24, 40), (3, 48, 32)):
        frames = torch.rand(batch, 3 * network.contract.window, height, width)
        with torch.no_grad():
            assert np.abs(run(model, frames) - network(frames).numpy()).max() < TOLERANCE


def test_graph_names_its_sides_and_nodes_after_the_modules() -> None:
    _, model = traced("wrcan")
    dims = [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 3, "height", "width"]
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert any(name.startswith("body.1.body.0.shrink.0/") for name in names)
    assert (model.ir_version, model.opset_import[0].version, model.producer_name) == (10, 20, "deblurrt")


def test_graph_tells_nothing_of_the_machine() -> None:
    _, model = traced("carlo_net")
    assert {entry.key for node in model.graph.node for entry in node.metadata_props} <= {SCOPES_KEY}
    assert b".py" not in model.SerializeToString()


def test_network_that_cannot_be_traced_names_the_line() -> None:
    class Branching(nn.Module):
        def forward(self, frames: Tensor) -> Tensor:
            if float(frames.mean()) > 0.5:
                return frames * 2
            return frames

    with pytest.raises(UsageError, match=r"Branching cannot be traced: .*test_torch_exporter.py.*, line \d+") as caught:
        float_graph(Branching(), FrameContract(io="float"))
    assert len(str(caught.value).splitlines()) == 1
