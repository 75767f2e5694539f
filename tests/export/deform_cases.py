"""Small networks with one deformable convolution each, of every package and in every way it is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from deblurrt.models.deform_conv import ModulatedDeformConv2d
from tests.export import deform_packages as packages

CHANNELS, MADE = 8, 4
#: height and width differ in everything; groups and deformable groups too
UNEVEN: dict[str, Any] = {
    "kernel_size": (3, 2),
    "stride": (2, 1),
    "padding": (1, 2),
    "dilation": (1, 3),
    "groups": 2,
    "deform_groups": 4,
}
#: for BasicSR's second form, which takes whole numbers only
WHOLE: dict[str, Any] = {"kernel_size": (3, 2), "stride": 2, "padding": 1, "dilation": 2, "groups": 2}
WHOLE |= {"deform_groups": 4}


class Given(nn.Module):
    """A layer or function that is given offsets, and perhaps a mask."""

    def __init__(self, layer: nn.Module, call: Callable[..., Tensor] | None = None, *, has_mask: bool = True) -> None:
        super().__init__()
        self.layer, self.call, self.has_mask = layer, call, has_mask
        self.offsets = cast(packages.Weighted, layer).offset_conv(3)

    def forward(self, x: Tensor) -> Tensor:
        numbers = self.offsets(x)
        moves = numbers.shape[1] // 3 * 2
        offset, mask = 2 * numbers[:, :moves], torch.sigmoid(numbers[:, moves:])
        given = (offset, mask) if self.has_mask else (offset,)
        called = self.layer(x, *given) if self.call is None else self.call(self.layer, x, *given)
        return cast(Tensor, called)


class Named(nn.Module):
    """A layer called with the names its class gives its inputs."""

    def __init__(self, layer: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.layer, self.names = layer, names

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        return cast(Tensor, self.layer(**dict(zip(self.names, (x, *given), strict=True))))


class Guided(nn.Module):
    """A layer that finds its offsets in other features."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.layer(x, torch.flip(x, (1,))))


class Twice(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Given(packages.MmcvModulatedDeformConv2d(CHANNELS, CHANNELS, 3, padding=1))
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.second(self.first(x)))[:, :MADE]


class SecondOrder(packages.MmcvModulatedDeformConv2dPack):  # type: ignore[misc]
    """BasicVSR++'s alignment: limits the offsets and calls the function itself."""

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        offset, mask = self.found(guide)
        tensors = (x, 3 * torch.tanh(offset), mask, self.weight, self.bias)
        return cast(Tensor, packages.mmcv_modulated_deform_conv2d(*tensors, *self.settings))


class OwnOffsets(packages.DeformConv2d):
    """A layer for torchvision's that finds its own offsets and leaves the rest to its base."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.numbers = self.offset_conv(2)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * super().forward(input=x, offset=self.numbers(x))


class Inheriting(packages.DCNv2Pack):
    """A subclass that changes nothing."""


class Doubled(packages.DCNv2Pack):
    """A subclass that asks its base."""

    def forward(self, x: Tensor, feat: Tensor) -> Tensor:
        return 2 * super().forward(x, feat)


def made(layer: Callable[..., nn.Module], settings: dict[str, Any] = UNEVEN, **more: Any) -> Any:
    return layer(CHANNELS, MADE, **settings, **more)


def hooked() -> nn.Module:
    layer = made(packages.MmcvModulatedDeformConv2d)
    layer.register_forward_pre_hook(lambda _, inputs: (2 * inputs[0], *inputs[1:]))
    layer.register_forward_hook(lambda _, __, output: output + 1)
    return Given(layer)


def parametrised() -> nn.Module:
    layer = made(packages.MmcvModulatedDeformConv2d)
    case = Given(layer)
    parametrizations.weight_norm(layer)
    layer.parametrizations.weight.original0.data *= 3
    return case


def of_torchvision(layer: Any, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
    sides = layer.stride, layer.padding, layer.dilation
    return packages.deform_conv2d(x, offset, layer.weight, layer.bias, *sides, mask=mask)


def of_torchvision_by_name(layer: Any, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
    sides = (*layer.stride, *layer.padding, *layer.dilation)
    tensors = {"offset": offset, "mask": mask, "bias": torch.ones(MADE)}
    settings = dict(zip(packages.SETTINGS, (*sides, layer.groups, layer.deform_groups), strict=True))
    operator = torch.ops.torchvision.deform_conv2d.default
    return cast(Tensor, operator(x, layer.weight, **tensors, **settings, use_mask=True))


def unmodulated(function: Any) -> Callable[..., Tensor]:
    return lambda layer, x, offset: function(x, offset, layer.weight, *layer.settings)


def modulated(function: Any) -> Callable[..., Tensor]:
    return lambda layer, x, offset, mask: function(x, offset, mask, layer.weight, layer.bias, *layer.settings)


#: case -> what makes it; ``Weighted`` alone is nobody's class
CASES: dict[str, Callable[[], nn.Module]] = {
    "torchvision DeformConv2d": lambda: Given(made(packages.DeformConv2d)),
    "torchvision DeformConv2d unbiased": lambda: Given(made(packages.DeformConv2d, bias=False)),
    "torchvision DeformConv2d maskless": lambda: Given(made(packages.DeformConv2d), has_mask=False),
    "mmcv DeformConv2d": lambda: Given(made(packages.MmcvDeformConv2d), has_mask=False),
    "mmcv DeformConv2dPack": lambda: made(packages.MmcvDeformConv2dPack),
    "mmcv ModulatedDeformConv2d": lambda: Given(made(packages.MmcvModulatedDeformConv2d)),
    "mmcv ModulatedDeformConv2d unbiased": lambda: Given(made(packages.MmcvModulatedDeformConv2d, bias=False)),
    "mmcv ModulatedDeformConv2dPack": lambda: made(packages.MmcvModulatedDeformConv2dPack),
    "mmcv ModulatedDeformConv2dPack unbiased": lambda: made(packages.MmcvModulatedDeformConv2dPack, bias=False),
    "basicsr DeformConv": lambda: Given(made(packages.BasicsrDeformConv), has_mask=False),
    "basicsr DeformConvPack": lambda: made(packages.BasicsrDeformConvPack),
    "basicsr ModulatedDeformConv": lambda: Given(made(packages.BasicsrModulatedDeformConv, WHOLE)),
    "basicsr ModulatedDeformConv unbiased": lambda: Given(made(packages.BasicsrModulatedDeformConv, WHOLE, bias=False)),
    "basicsr ModulatedDeformConvPack": lambda: made(packages.BasicsrModulatedDeformConvPack, WHOLE),
    "basicsr DCNv2Pack": lambda: Guided(made(packages.DCNv2Pack, WHOLE)),
    "basicsr DCNv2Pack unbiased": lambda: Guided(made(packages.DCNv2Pack, WHOLE, bias=False)),
    "deblurrt ModulatedDeformConv2d": lambda: Guided(ModulatedDeformConv2d(CHANNELS, MADE, 5, deformable_groups=2)),
    "function of torchvision": lambda: Given(made(packages.Weighted), of_torchvision),
    "function of torchvision unbiased": lambda: Given(made(packages.Weighted, bias=False), of_torchvision),
    "function of torchvision maskless": lambda: Given(made(packages.Weighted), of_torchvision, has_mask=False),
    "operator of torchvision by name": lambda: Given(made(packages.Weighted), of_torchvision_by_name),
    "mmcv DeformConv2dFunction": lambda: Given(
        made(packages.Weighted), unmodulated(packages.mmcv_deform_conv2d), has_mask=False
    ),
    "mmcv ModulatedDeformConv2dFunction": lambda: Given(
        made(packages.Weighted), modulated(packages.mmcv_modulated_deform_conv2d)
    ),
    "mmcv ModulatedDeformConv2dFunction unbiased": lambda: Given(
        made(packages.Weighted, bias=False), modulated(packages.mmcv_modulated_deform_conv2d)
    ),
    "basicsr DeformConvFunction": lambda: Given(
        made(packages.Weighted), unmodulated(packages.basicsr_deform_conv), has_mask=False
    ),
    "basicsr ModulatedDeformConvFunction": lambda: Given(
        made(packages.Weighted, WHOLE), modulated(packages.basicsr_modulated_deform_conv)
    ),
    "subclass with another forward": lambda: Guided(made(SecondOrder)),
    "subclass that finds its own offsets": lambda: made(OwnOffsets),
    "subclass that changes nothing": lambda: Guided(made(Inheriting, WHOLE)),
    "subclass that asks its base": lambda: Guided(made(Doubled, WHOLE)),
    "hooks": hooked,
    "parametrisation": parametrised,
}
#: how many nodes a case makes, if not one
SHARED = {"one layer under two names": 2}
CASES["one layer under two names"] = Twice


#: those whose trace depends on sizes: masks of ones, a guard of small maps, a look at values
SIZED = (
    "torchvision DeformConv2d maskless",
    "mmcv DeformConv2d",
    "mmcv ModulatedDeformConv2dPack",
    "basicsr DCNv2Pack",
    "basicsr ModulatedDeformConvFunction",
)


class Cases(nn.Module):
    """Cases side by side, since a trace takes seconds: ``[batch, MADE, 1, all pixels]``."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.cases = nn.ModuleList(CASES[name]() for name in names)
        for layer in self.modules():
            if isinstance(layer, ModulatedDeformConv2d):
                nn.init.normal_(layer.conv_offset_mask.weight, std=0.2)

    def forward(self, frames: Tensor) -> Tensor:
        return torch.cat([found.flatten(2)[:, :, None] for found in self.apart(frames)], 3)

    def apart(self, frames: Tensor) -> list[Tensor]:
        """What each case gives."""
        x = self.first(frames)
        return [case(x) for case in self.cases]
