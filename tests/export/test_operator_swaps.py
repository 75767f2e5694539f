"""Deformable convolutions and local pools, anybody's, become nodes of our domain."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import ContractError
from deblurrt.export.operator_swaps import swapped
from deblurrt.export.torch_exporter import float_graph
from deblurrt.models.deform_conv import ModulatedDeformConv2d, modulated_deform_conv2d
from deblurrt.models.local_pool import LocalAvgPool2d


def foreign(package: str, name: str, base: type[nn.Module]) -> type[nn.Module]:
    """A class as another package would define it."""
    return type(name, (base,), {"__module__": f"{package}.ops.deform_conv"})


class Bare(nn.Module):
    """torchvision's and mmcv's form: offsets and mask are given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 4, 3, 3)), nn.Parameter(torch.zeros(4))
        self.stride, self.padding, self.dilation = (1, 1), (1, 1), (1, 1)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        return modulated_deform_conv2d(x, offset, mask, self.weight, self.bias, padding=1)


class Pack(nn.Module):
    """mmcv's and BasicSR's form: offsets are found in the input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 4, 3, 3)), nn.Parameter(torch.zeros(4))
        self.stride, self.padding, self.dilation = 1, 1, 1
        self.conv_offset = nn.Conv2d(4, 27, 3, padding=1)


class Around(nn.Module):
    """A network with one deformable layer."""

    def __init__(self, layer: nn.Module, *, gives_offsets: bool) -> None:
        super().__init__()
        self.first, self.layer = nn.Conv2d(3, 4, 3, padding=1), layer
        self.offsets = nn.Conv2d(4, 27, 3, padding=1) if gives_offsets else None
        self.last = nn.Conv2d(4, 3, 1)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.first(frames)
        if self.offsets is not None:
            found = self.offsets(x)
            x = self.layer(x, found[:, :18], torch.sigmoid(found[:, 18:]))
        else:
            x = self.layer(x)
        restored: Tensor = self.last(x)
        return restored


def nodes_of(network: nn.Module) -> list[Any]:
    model = float_graph(network.eval(), FrameContract(io="float"))
    return [node for node in model.graph.node if node.domain == "deblurrt"]


@pytest.mark.parametrize(
    ("layer", "gives_offsets"),
    [
        (foreign("torchvision", "DeformConv2d", Bare)(), True),
        (foreign("mmcv", "ModulatedDeformConv2d", Bare)(), True),
        (foreign("mmcv", "ModulatedDeformConv2dPack", Pack)(), False),
        (foreign("basicsr", "DCNv2Pack", Pack)(), False),
    ],
    ids=["torchvision", "mmcv", "mmcv pack", "basicsr pack"],
)
def test_foreign_deformable_convolutions_are_recognised(layer: nn.Module, gives_offsets: bool) -> None:
    [node] = nodes_of(Around(layer, gives_offsets=gives_offsets))
    attributes = {entry.name: list(entry.ints) or entry.i or entry.s for entry in node.attribute}
    assert node.op_type == "ModulatedDeformConv"
    assert list(node.input)[3:] == ["layer.weight", "layer.bias"]
    assert attributes == {
        "strides": [1, 1],
        "pads": [1, 1],
        "dilations": [1, 1],
        "groups": 1,
        "offset_groups": 1,
        "plugin_namespace": b"deblurrt",
        "plugin_version": b"1",
    }


def test_our_own_modules_keep_their_settings() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.move = LocalAvgPool2d((5, 7)), ModulatedDeformConv2d(3, 3, deformable_groups=3)

        def forward(self, frames: Tensor) -> Tensor:
            moved: Tensor = self.move(frames, self.pool(frames))
            return moved

    pool, move = nodes_of(Both())
    assert (pool.op_type, list(pool.attribute[0].ints)) == ("LocalAvgPool", [5, 7])
    assert next(entry.i for entry in move.attribute if entry.name == "offset_groups") == 3


def test_the_network_itself_is_left_as_it_is() -> None:
    network = nn.Sequential(LocalAvgPool2d((3, 3)))
    swapped(network)
    assert isinstance(network[0], LocalAvgPool2d)


def test_pack_without_its_offset_convolution_is_refused() -> None:
    layer = foreign("basicsr", "DCNv2Pack", Bare)()
    with pytest.raises(ContractError, match="has no conv_offset"):
        swapped(nn.Sequential(layer))
