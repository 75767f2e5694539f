"""Deformable convolution against loops over its definition, and against ONNX Runtime's operator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from deblurrt.core.errors import ContractError, UsageError
from deblurrt.core.tensors import Array
from deblurrt.models.deform_conv import ModulatedDeformConv2d, modulated_deform_conv2d

#: the definition and the code add up in another order, and the grid is scaled to -1..1 and back
FLOAT64_TOLERANCE = 1e-11
#: of fp32 positions in small maps
FLOAT32_TOLERANCE = 1e-4
#: rounding of fp16 results near 1; positions rounded to fp16 would be wrong by up to 0.5
FLOAT16_TOLERANCE = 4e-3
#: first release that runs DeformConv on CPUs
ONNXRUNTIME_LEAST = "1.25"


@dataclass(frozen=True)
class Case:
    """Sizes of one convolution; pairs are height and width."""

    channels: int = 4
    made: int = 6
    size: tuple[int, int] = (5, 7)
    kernel: tuple[int, int] = (3, 3)
    deformable_groups: int = 2
    groups: int = 1
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    reach_px: float = 2.0
    seed: int = 0

    @property
    def out_size(self) -> tuple[int, int]:
        height, width = (
            (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for side, padding, dilation, kernel, stride in zip(
                self.size, self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        )
        return height, width

    def tensors(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Features, offset, mask, weight and bias."""
        generator = torch.Generator().manual_seed(self.seed)
        taps = self.kernel[0] * self.kernel[1]

        def noise(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        offset = noise(2, self.deformable_groups * 2 * taps, *self.out_size) * self.reach_px
        mask = torch.sigmoid(noise(2, self.deformable_groups * taps, *self.out_size))
        weight = noise(self.made, self.channels // self.groups, *self.kernel)
        features, bias = noise(2, self.channels, *self.size), noise(self.made)
        return tuple(tensor.to(dtype) for tensor in (features, offset, mask, weight, bias))  # type: ignore[return-value]

    @property
    def keywords(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}


CASES = {
    "plain": Case(),
    "one group": Case(deformable_groups=1),
    "group per channel": Case(deformable_groups=4),
    "far outside": Case(reach_px=60.0),
    "convolution groups": Case(groups=2),
    "more convolution than deformable groups": Case(groups=4, made=4, deformable_groups=1),
    "stride": Case(stride=(2, 2), size=(6, 9)),
    "dilation": Case(dilation=(2, 2), padding=(2, 2)),
    "everything uneven": Case(kernel=(3, 1), stride=(1, 2), padding=(0, 2), dilation=(2, 1), size=(9, 5)),
    "one pixel wide": Case(size=(6, 1), kernel=(1, 1), padding=(0, 0)),
    "kernel larger than the map": Case(size=(2, 2), kernel=(5, 5), padding=(2, 2)),
}


def sample(plane: Array, row: float, column: float) -> float:
    """Bilinear sample of ``[height, width]``, zero outside."""
    top, left, total = math.floor(row), math.floor(column), 0.0
    for corner_row, corner_column in product((top, top + 1), (left, left + 1)):
        if 0 <= corner_row < plane.shape[0] and 0 <= corner_column < plane.shape[1]:
            share = (1 - abs(row - corner_row)) * (1 - abs(column - corner_column))
            total += share * float(plane[corner_row, corner_column])
    return total


def by_definition(case: Case) -> Array:
    """Dai et al. and Zhu et al., index by index."""
    features, offset, mask, weight, bias = (tensor.numpy() for tensor in case.tensors())
    taps, per_group = case.kernel[0] * case.kernel[1], case.channels // case.deformable_groups
    made = np.zeros((2, case.made, *case.out_size))
    for batch, row, column in product(range(2), *map(range, case.out_size)):
        for channel, (i, j) in product(range(case.channels), np.ndindex(*case.kernel)):
            tap, group = i * case.kernel[1] + j, channel // per_group
            shift = offset[batch, group * 2 * taps + 2 * tap :, row, column]
            value = sample(
                features[batch, channel],
                row * case.stride[0] - case.padding[0] + i * case.dilation[0] + shift[0],
                column * case.stride[1] - case.padding[1] + j * case.dilation[1] + shift[1],
            )
            value *= mask[batch, group * taps + tap, row, column]
            within, fan = channel // weight.shape[1], case.made // case.groups
            outputs = slice(within * fan, (within + 1) * fan)
            made[batch, outputs, row, column] += weight[outputs, channel % weight.shape[1], i, j] * value
    made += bias[None, :, None, None]
    return made


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_result_is_that_of_the_definition(case: Case) -> None:
    made = modulated_deform_conv2d(*case.tensors(), **case.keywords)
    assert made.dtype == torch.float64
    np.testing.assert_allclose(made.numpy(), by_definition(case), rtol=0, atol=FLOAT64_TOLERANCE)


@pytest.mark.parametrize("place", [-1.0, -0.999, -0.5, 0.0, 3.0, 3.5, 3.999, 4.0])
def test_border_fades_to_zero_within_one_pixel(place: float) -> None:
    features = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    weight = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    mask = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    offset = torch.tensor([1.0, place], dtype=torch.float64).reshape(1, 2, 1, 1)
    made = modulated_deform_conv2d(features, offset, mask, weight, None)
    expected = min(1.0, place + 1, 4 - place)
    assert float(made) == pytest.approx(expected, abs=FLOAT64_TOLERANCE)


def test_without_offsets_it_is_a_convolution() -> None:
    case = Case(groups=2, stride=(2, 2), dilation=(2, 2), padding=(2, 2))
    features, offset, mask, weight, bias = case.tensors()
    made = modulated_deform_conv2d(features, offset * 0, mask * 0 + 1, weight, bias, **case.keywords)
    expected = functional.conv2d(features, weight, bias, stride=2, padding=2, dilation=2, groups=2)
    torch.testing.assert_close(made, expected, rtol=0, atol=FLOAT64_TOLERANCE)


def test_one_number_stands_for_both_directions() -> None:
    case = Case(stride=(2, 2), padding=(3, 3), dilation=(2, 2))
    pairs = modulated_deform_conv2d(*case.tensors(), **case.keywords)
    assert torch.equal(modulated_deform_conv2d(*case.tensors(), stride=2, padding=3, dilation=2), pairs)


def test_gradients_are_those_of_differences() -> None:
    case = Case(channels=2, made=2, size=(3, 4), stride=(2, 1))
    inputs = [tensor.requires_grad_() for tensor in case.tensors()]

    def made(*tensors: Tensor) -> Tensor:
        features, offset, mask, weight, bias = tensors
        return modulated_deform_conv2d(features, offset, mask, weight, bias, stride=(2, 1), padding=1)

    assert torch.autograd.gradcheck(made, inputs)


def test_half_precision_keeps_fractions_of_wide_maps() -> None:
    width = 3000
    features = torch.rand(1, 1, 1, width, generator=torch.Generator().manual_seed(0)).half()
    halves = torch.full((1, 2, 1, width), 0.5).half()
    halves[:, 0] = 0
    one = torch.ones(1, 1, 1, 1).half()
    made = modulated_deform_conv2d(features, halves, one.expand(1, 1, 1, width), one, None)
    between = (features[..., :-1].float() + features[..., 1:].float()) / 2
    assert made.dtype == torch.float16
    torch.testing.assert_close(made[..., :-1].float(), between, rtol=0, atol=FLOAT16_TOLERANCE)


@pytest.mark.parametrize("case", [Case(), Case(groups=2, stride=(2, 2))], ids=["plain", "groups and stride"])
def test_counted_operations_are_those_of_the_product(case: Case) -> None:
    meta = [tensor.to("meta") for tensor in case.tensors(torch.float32)]
    with FlopCounterMode(display=False) as counter:
        made = modulated_deform_conv2d(*meta, **case.keywords)
    assert made.shape == (2, case.made, *case.out_size)
    assert made.is_meta
    assert counter.get_total_flops() == 2 * made.numel() * (case.channels // case.groups) * 9


class Sampling(torch.nn.Module):
    """The operator with fixed weights."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        _, _, _, self.weight, self.bias = case.tensors(torch.float32)

    def forward(self, features: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        return modulated_deform_conv2d(features, offset, mask, self.weight, self.bias, padding=1)


def test_graph_of_any_size_is_exported() -> None:
    small, large = Case().tensors(torch.float32)[:3], Case(size=(8, 11)).tensors(torch.float32)[:3]
    height, width = torch.export.Dim("height", min=2), torch.export.Dim("width", min=2)
    program = torch.export.export(Sampling(Case()), small, dynamic_shapes=[{2: height, 3: width}] * 3)
    torch.testing.assert_close(program.module()(*large), Sampling(Case())(*large), rtol=0, atol=0)


def onnxruntime_result(case: Case, opset: int) -> Array:
    onnxruntime = pytest.importorskip("onnxruntime", minversion=ONNXRUNTIME_LEAST, reason="has no DeformConv on CPUs")
    features, offset, mask, weight, bias = (tensor.numpy() for tensor in case.tensors(torch.float32))
    given = {"X": features, "W": weight, "offset": offset, "B": bias, "mask": mask}
    node = helper.make_node(
        "DeformConv",
        list(given),
        ["Y"],
        kernel_shape=case.kernel,
        strides=case.stride,
        pads=case.padding * 2,
        dilations=case.dilation,
        group=case.groups,
        offset_group=case.deformable_groups,
    )
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in given.items()]
    result = helper.make_tensor_value_info("Y", TensorProto.FLOAT, (2, case.made, *case.out_size))
    graph = helper.make_graph([node], "deformable", inputs, [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (made,) = session.run(None, given)
    return np.asarray(made)


@pytest.mark.parametrize("opset", [19, 22])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_onnx_runtime_gives_the_same(case: Case, opset: int) -> None:
    made = modulated_deform_conv2d(*case.tensors(torch.float32), **case.keywords)
    np.testing.assert_allclose(made.numpy(), onnxruntime_result(case, opset), rtol=0, atol=FLOAT32_TOLERANCE)


def test_channels_that_do_not_fit_are_named() -> None:
    features, offset, mask, weight, bias = Case().tensors()
    with pytest.raises(ContractError, match="offset has 35 channels and mask 18, expected 18 and 9 for each"):
        modulated_deform_conv2d(features, offset[:, :35], mask, weight, bias)
    with pytest.raises(ContractError, match="offset has 36 channels and mask 9,"):
        modulated_deform_conv2d(features, offset, mask[:, :9], weight, bias)
    with pytest.raises(ContractError, match="groups that divide the 3 channels of features"):
        modulated_deform_conv2d(features[:, :3], offset, mask, weight, bias)
    with pytest.raises(ContractError, match=r"weight is \[6, 3, 3, 3\], expected .* for 4 channels"):
        modulated_deform_conv2d(features, offset, mask, weight[:, :3], bias)


def test_pack_has_the_keys_of_the_authors() -> None:
    pack = ModulatedDeformConv2d(16, 8, deformable_groups=4)
    assert {key: tuple(tensor.shape) for key, tensor in pack.state_dict().items()} == {
        "weight": (8, 16, 3, 3),
        "bias": (8,),
        "conv_offset_mask.weight": (108, 16, 3, 3),
        "conv_offset_mask.bias": (108,),
    }


def test_pack_starts_as_half_a_convolution() -> None:
    pack = ModulatedDeformConv2d(4, 6, deformable_groups=2).double()
    features, guide = Case(seed=1).tensors()[0], Case(seed=2).tensors()[0]
    with torch.no_grad():
        made = pack(features, guide)
        expected = functional.conv2d(features, pack.weight, padding=1) / 2
    torch.testing.assert_close(made, expected, rtol=0, atol=FLOAT64_TOLERANCE)


def test_pack_reads_offsets_then_masks_off_the_guide() -> None:
    pack = ModulatedDeformConv2d(4, 6, deformable_groups=2).double()
    features, guide = Case(seed=1).tensors()[0], Case(seed=2).tensors()[0]
    with torch.no_grad():
        torch.nn.init.normal_(pack.conv_offset_mask.weight, generator=torch.Generator().manual_seed(3))
        numbers = functional.conv2d(guide, pack.conv_offset_mask.weight, padding=1)
        offset, mask = numbers[:, :36], torch.sigmoid(numbers[:, 36:])
        expected = modulated_deform_conv2d(features, offset, mask, pack.weight, pack.bias, padding=1)
        torch.testing.assert_close(pack(features, guide), expected, rtol=0, atol=0)


def test_pack_refuses_groups_that_do_not_divide_its_channels() -> None:
    with pytest.raises(UsageError, match="12 channels do not fall into 8 deformable groups"):
        ModulatedDeformConv2d(12, 12, deformable_groups=8)
