"""Deformable convolutions and local pools, anybody's, become nodes of our domain that compute the same."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from functools import cache
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import ContractError
from deblurrt.core.module_paths import SCOPES_KEY
from deblurrt.core.optional import require
from deblurrt.export.deform_calls import FUNCTIONS, basicsr_on_cpu, kind_of
from deblurrt.export.export_config import ExportConfig
from deblurrt.export.onnx_export import OnnxExport
from deblurrt.export.operator_swaps import SWAPS, operators_as_nodes
from deblurrt.export.torch_exporter import float_graph
from deblurrt.models.local_pool import LocalAvgPool2d
from deblurrt.models.network import DeblurNetwork
from deblurrt.plugins.onnx_ops import add_bodies, uses_plugins
from tests.export import deform_packages as packages
from tests.export.deform_cases import CASES, CHANNELS, MADE, SHARED, SIZED, Cases
from tests.export.deform_packages import torchvision_operator
from tests.export.float_networks import small_windows

#: sums in another order, and places rounded in another; values are about one
TOLERANCE = 1e-4
#: of values that are not all alike
LEAST_SPREAD = 0.1


@cache
def traced() -> tuple[Cases, Tensor, onnx.ModelProto]:
    """All cases, for one size: sizes that are free take the tracer five times as long."""
    network, frames = Cases(CASES).eval(), torch.randn(2, 3, 13, 18)
    with torchvision_operator(), operators_as_nodes(network), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options: dict[str, Any] = {"dynamo": True, "opset_version": 20, "optimize": False, "verbose": False}
        program = cast(Any, torch.onnx.export(network, (frames,), input_names=["frames"], **options))
    return network, frames, program.model_proto


@cache
def results() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return dict(zip(CASES, compared(*traced()), strict=True))


@cache
def sized_results() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    network = Cases(SIZED).eval()
    with torchvision_operator():
        model = float_graph(network, FrameContract(io="float"))
    return dict(zip(SIZED, compared(network, torch.randn(3, 3, 11, 26), model), strict=True))


def compared(network: Cases, frames: Tensor, model: onnx.ModelProto) -> list[tuple[np.ndarray, np.ndarray]]:
    """What PyTorch and ONNX Runtime give for each case."""
    with torch.no_grad(), torchvision_operator(), basicsr_on_cpu():
        expected = [found.flatten(2).numpy() for found in network.apart(frames)]
    whole = onnx.ModelProto.FromString(model.SerializeToString())
    runtime = require("onnxruntime", purpose="run a graph")
    session = runtime.InferenceSession(add_bodies(whole).SerializeToString(), providers=["CPUExecutionProvider"])
    got = session.run(None, {"frames": frames.numpy()})[0][:, :, 0]
    ends = np.cumsum([each.shape[2] for each in expected])
    return list(zip(expected, np.split(got, ends[:-1], axis=2), strict=True))


def nodes_of(case: str) -> list[onnx.NodeProto]:
    scope = f"'cases.{list(CASES).index(case)}"
    return [
        node
        for node in traced()[2].graph.node
        for entry in node.metadata_props
        if entry.key == SCOPES_KEY and (f"{scope}'" in entry.value or f"{scope}." in entry.value)
    ]


@pytest.mark.parametrize("case", CASES)
def test_nodes_compute_what_the_packages_do(case: str) -> None:
    expected, got = results()[case]
    assert expected.std() > LEAST_SPREAD
    assert np.abs(got - expected).max() < TOLERANCE


@pytest.mark.parametrize("case", SIZED)
def test_nodes_compute_it_at_sizes_other_than_the_trace_had(case: str) -> None:
    expected, got = sized_results()[case]
    assert expected.std() > LEAST_SPREAD
    assert np.abs(got - expected).max() < TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_a_call_is_one_node(case: str) -> None:
    found = Counter(node.op_type for node in nodes_of(case))
    assert found["ModulatedDeformConv"] == SHARED.get(case, 1)
    assert found["GridSample"] == 0


def test_every_known_class_and_function_is_a_case() -> None:
    kinds = {kind for kind in (*SWAPS, *FUNCTIONS) if kind[1] != "LocalAvgPool2d"}
    assert kinds <= {cast(tuple[str, str], tuple(case.split()[:2])) for case in CASES}
    kinds_of_modules = {kind_of(type(module)) for module in traced()[0].modules()}
    assert set(SWAPS) - kinds_of_modules == {("deblurrt", "LocalAvgPool2d")}


def test_weights_keep_their_names_and_settings_their_axes() -> None:
    case = "mmcv ModulatedDeformConv2d"
    place = list(CASES).index(case)
    [node] = [node for node in nodes_of(case) if node.domain == "deblurrt"]
    attributes = {entry.name: list(entry.ints) or entry.i or entry.s for entry in node.attribute}
    assert list(node.input)[3:] == [f"cases.{place}.layer.weight", f"cases.{place}.layer.bias"]
    assert attributes == {
        "strides": [2, 1],
        "pads": [1, 2],
        "dilations": [1, 3],
        "groups": 2,
        "offset_groups": 4,
        "plugin_namespace": b"deblurrt",
        "plugin_version": b"1",
    }


def test_local_pools_are_nodes_with_their_window() -> None:
    model = float_graph(nn.Sequential(LocalAvgPool2d((5, 7))).eval(), FrameContract(io="float"))
    [pool] = model.graph.node
    assert (pool.op_type, list(pool.attribute[0].ints)) == ("LocalAvgPool", [5, 7])


def test_classes_are_as_before_when_tracing_ends() -> None:
    network = Cases(CASES)
    kinds = {kind for module in network.modules() for kind in type(module).__mro__}
    kinds |= {packages.DeformConv2dFunction, packages.ModulatedDeformConvFunction}
    before = {kind: vars(kind).get("forward") for kind in kinds}
    with contextlib.suppress(RuntimeError), operators_as_nodes(network):
        assert {kind: vars(kind).get("forward") for kind in kinds} != before
        raise RuntimeError
    assert {kind: vars(kind).get("forward") for kind in kinds} == before


def test_offsets_that_fit_no_kernel_are_refused() -> None:
    layer, offset = packages.MmcvModulatedDeformConv2d(3, 3, 3), torch.zeros(1, 21, 6, 6)
    with operators_as_nodes(layer), pytest.raises(ContractError, match=r"channels of offset .* is 21, expected 18"):
        layer(torch.zeros(1, 3, 8, 8), offset, offset[:, :9])


def test_pack_without_its_offset_convolution_is_refused() -> None:
    layer = packages.BasicsrModulatedDeformConvPack(3, 3, 3)
    del layer.conv_offset
    with operators_as_nodes(layer), pytest.raises(ContractError, match="ModulatedDeformConvPack has no conv_offset"):
        layer(torch.zeros(1, 3, 8, 8))


def test_basicsr_computes_on_cpus_what_mmcv_does() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(1, CHANNELS, 9, 7), torch.randn(MADE, CHANNELS // 2, 3, 3)
    offset, mask = torch.randn(1, 36, 4, 3), torch.rand(1, 18, 4, 3)
    settings = (2, 1, 2, 2, 2)
    with basicsr_on_cpu():
        plain = packages.basicsr_deform_conv(x, offset, weight, *settings)
        with_mask = packages.basicsr_modulated_deform_conv(x, offset, mask, weight, None, *settings)
    assert torch.equal(plain, packages.mmcv_deform_conv2d(x, offset, weight, *settings))
    assert torch.equal(with_mask, packages.mmcv_modulated_deform_conv2d(x, offset, mask, weight, None, *settings))
    with pytest.raises(NotImplementedError):
        packages.basicsr_deform_conv(x, offset, weight, *settings)


def test_networks_of_basicsr_are_exported_on_cpus() -> None:
    class Aligning(DeblurNetwork):
        def __init__(self) -> None:
            super().__init__()
            self.contract = FrameContract(io="float", halo_px=8)
            self.layer = packages.BasicsrModulatedDeformConvPack(3, 3, 3, padding=1)

        def forward(self, frames: Tensor) -> Tensor:
            return frames + 0.1 * cast(Tensor, self.layer(frames))

    work = OnnxExport(Aligning(), ExportConfig(io="float"), small_windows(FrameContract(io="float")))
    assert uses_plugins(work.run()) == ["ModulatedDeformConv"]
    assert work.report().stages[0].name == "pytorch->onnx"
