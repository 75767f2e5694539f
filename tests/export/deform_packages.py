"""Deformable convolutions under the names and with the signatures of torchvision, mmcv and BasicSR.

The packages are not needed for tests. What is not asked for here, such as weights and gradients, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function

from deblurrt.models.deform_conv import modulated_deform_conv2d as reference

Sides = tuple[int, int]
#: what torchvision's operator takes between the tensors and ``use_mask``
SETTINGS = ("stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w", "groups", "offset_groups")


def pair(value: int | Sides) -> Sides:
    return (value, value) if isinstance(value, int) else value


def without_mask(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, *settings: int | Sides) -> Tensor:
    mask = torch.ones_like(offset[:, : offset.shape[1] // 2])
    stride, padding, dilation = map(pair, settings)
    return reference(x, offset, mask, weight, bias, stride=stride, padding=padding, dilation=dilation)


@contextmanager
def torchvision_operator() -> Iterator[None]:
    """Define ``torchvision::deform_conv2d`` for a while, unless torchvision has."""
    if hasattr(torch.ops.torchvision, "deform_conv2d"):
        yield
        return
    tensors = ", ".join(f"Tensor {name}" for name in ("input", "weight", "offset", "mask", "bias"))
    settings = ", ".join(f"SymInt {name}" for name in SETTINGS)
    library: Any = cast(Any, torch.library.Library)("torchvision", "DEF")
    library.define(f"deform_conv2d({tensors}, {settings}, bool use_mask) -> Tensor")
    library.impl("deform_conv2d", computed_by_torchvision, "CPU")
    try:
        yield
    finally:
        library._destroy()


def computed_by_torchvision(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, *settings: int
) -> Tensor:
    stride, padding, dilation = settings[:2], settings[2:4], settings[4:6]
    if not settings[-1]:
        return without_mask(input, offset, weight, bias, stride, padding, dilation)  # type: ignore[arg-type]
    return reference(input, offset, mask, weight, bias, stride=stride, padding=padding, dilation=dilation)  # type: ignore[arg-type]


def deform_conv2d(  # noqa: PLR0913, PLR0917 - torchvision's
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sides = (1, 1),
    padding: int | Sides = (0, 0),
    dilation: int | Sides = (1, 1),
    mask: Tensor | None = None,
) -> Tensor:
    """torchvision's function."""
    zeros = torch.zeros(weight.shape[0]) if bias is None else bias
    groups = input.shape[1] // weight.shape[1]
    offset_groups = offset.shape[1] // (2 * weight.shape[2] * weight.shape[3])
    factors = torch.zeros(input.shape[0], 0) if mask is None else mask
    settings = (*pair(stride), *pair(padding), *pair(dilation), groups, offset_groups, mask is not None)
    computed: Tensor = torch.ops.torchvision.deform_conv2d(input, weight, offset, factors, zeros, *settings)
    return computed


class DeformConv2dFunction(Function):
    """mmcv's, without modulation."""

    __module__ = "mmcv.ops.deform_conv"

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - mmcv's
        ctx: Any,
        input: Tensor,
        offset: Tensor,
        weight: Tensor,
        stride: int | Sides = 1,
        padding: int | Sides = 0,
        dilation: int | Sides = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = False,
        im2col_step: int = 32,
    ) -> Tensor:
        assert (groups, deform_groups) == groups_of(input, offset, weight)
        return without_mask(input, offset, weight, None, stride, padding, dilation)


class ModulatedDeformConv2dFunction(Function):
    """mmcv's, with modulation."""

    __module__ = "mmcv.ops.modulated_deform_conv"

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - mmcv's
        ctx: Any,
        input: Tensor,
        offset: Tensor,
        mask: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sides = 1,
        padding: int | Sides = 0,
        dilation: int | Sides = 1,
        groups: int = 1,
        deform_groups: int = 1,
    ) -> Tensor:
        assert (groups, deform_groups) == groups_of(input, offset, weight)
        sides = {"stride": pair(stride), "padding": pair(padding), "dilation": pair(dilation)}
        return reference(input, offset, mask, weight, bias, **sides)


def groups_of(input: Tensor, offset: Tensor, weight: Tensor) -> Sides:
    return input.shape[1] // weight.shape[1], offset.shape[1] // (2 * weight.shape[2] * weight.shape[3])


class DeformConvFunction(Function):
    """BasicSR's, without modulation: CUDA only."""

    __module__ = "basicsr.ops.dcn.deform_conv"

    @staticmethod
    def forward(ctx: Any, *_: Any) -> Tensor:
        raise NotImplementedError


class ModulatedDeformConvFunction(Function):
    """BasicSR's, with modulation: CUDA only."""

    __module__ = "basicsr.ops.dcn.deform_conv"

    @staticmethod
    def forward(ctx: Any, *_: Any) -> Tensor:
        raise NotImplementedError


mmcv_deform_conv2d: Any = DeformConv2dFunction.apply
mmcv_modulated_deform_conv2d: Any = ModulatedDeformConv2dFunction.apply
basicsr_deform_conv: Any = DeformConvFunction.apply
basicsr_modulated_deform_conv: Any = ModulatedDeformConvFunction.apply


class Weighted(nn.Module):
    """Weights and settings, as all three packages name them."""

    def __init__(  # noqa: PLR0913, PLR0917 - the packages'
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sides,
        stride: int | Sides = 1,
        padding: int | Sides = 0,
        dilation: int | Sides = 1,
        groups: int = 1,
        deform_groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding, self.dilation = pair(kernel_size), stride, padding, dilation
        self.groups, self.deform_groups, self.deformable_groups = groups, deform_groups, deform_groups
        self.weight = nn.Parameter(0.3 * torch.randn(out_channels, in_channels // groups, *self.kernel_size))
        self.register_parameter("bias", nn.Parameter(torch.randn(out_channels)) if bias else None)

    @property
    def settings(self) -> tuple[Any, ...]:
        """What follows the tensors in a call."""
        return self.stride, self.padding, self.dilation, self.groups, self.deform_groups

    def offset_conv(self, parts: int) -> nn.Conv2d:
        """A convolution that finds ``parts`` numbers for every tap."""
        channels, taps = self.weight.shape[1] * self.groups, self.kernel_size[0] * self.kernel_size[1]
        numbers = parts * self.deform_groups * taps
        return nn.Conv2d(channels, numbers, self.kernel_size, self.stride, self.padding, self.dilation)


class DeformConv2d(Weighted):
    """torchvision's."""

    __module__ = "torchvision.ops.deform_conv"

    def forward(self, input: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        sides = self.stride, self.padding, self.dilation
        return deform_conv2d(input, offset, self.weight, cast(Any, self.bias), *sides, mask=mask)


class Unmodulated(Weighted):
    """What mmcv's and BasicSR's first forms share: they fill up maps smaller than the kernel, and have no bias."""

    function: Any

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **{**settings, "bias": False})
        del self.bias

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        if x.size(2) < self.kernel_size[0] or x.size(3) < self.kernel_size[1]:
            raise NotImplementedError
        convolved: Tensor = type(self).function(x, offset, self.weight, *self.settings)
        return convolved


class UnmodulatedPack(Unmodulated):
    """Finds its offsets in its input."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.conv_offset = self.offset_conv(2)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        convolved: Tensor = type(self).function(x, self.conv_offset(x), self.weight, *self.settings)
        return convolved


class Modulated(Weighted):
    """What mmcv's and BasicSR's second forms share."""

    function: Any

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        convolved: Tensor = type(self).function(x, offset, mask, self.weight, self.bias, *self.settings)
        return convolved


class ModulatedPack(Modulated):
    """Finds offsets and mask in its input."""

    def __init__(self, *sizes: Any, **settings: Any) -> None:
        super().__init__(*sizes, **settings)
        self.conv_offset = self.offset_conv(3)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return Modulated.forward(self, x, *self.found(x))

    def found(self, guide: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets and mask."""
        above, below, mask = torch.chunk(self.conv_offset(guide), 3, dim=1)
        return torch.cat((above, below), dim=1), torch.sigmoid(mask)


def named(package: str, name: str, base: type[Weighted], function: Any) -> Any:
    """A class of a package; torch's functions of other packages are not methods, hence the wrapping."""
    body = {"__module__": package, "function": staticmethod(function), "forward": base.forward}
    return type(name, (base,), body)


MMCV, BASICSR = "mmcv.ops.deform_conv", "basicsr.ops.dcn.deform_conv"
MmcvDeformConv2d = named(MMCV, "DeformConv2d", Unmodulated, mmcv_deform_conv2d)
MmcvDeformConv2dPack = named(MMCV, "DeformConv2dPack", UnmodulatedPack, mmcv_deform_conv2d)
MmcvModulatedDeformConv2d = named(MMCV, "ModulatedDeformConv2d", Modulated, mmcv_modulated_deform_conv2d)
MmcvModulatedDeformConv2dPack = named(MMCV, "ModulatedDeformConv2dPack", ModulatedPack, mmcv_modulated_deform_conv2d)
BasicsrDeformConv = named(BASICSR, "DeformConv", Unmodulated, basicsr_deform_conv)
BasicsrDeformConvPack = named(BASICSR, "DeformConvPack", UnmodulatedPack, basicsr_deform_conv)
BasicsrModulatedDeformConv = named(BASICSR, "ModulatedDeformConv", Modulated, basicsr_modulated_deform_conv)
BasicsrModulatedDeformConvPack = named(BASICSR, "ModulatedDeformConvPack", ModulatedPack, basicsr_modulated_deform_conv)


class DCNv2Pack(BasicsrModulatedDeformConvPack):  # type: ignore[misc, valid-type]
    """BasicSR's: finds offsets in other features, and looks at their values."""

    __module__ = "basicsr.archs.arch_util"

    def forward(self, x: Tensor, feat: Tensor) -> Tensor:
        offset, mask = self.found(feat)
        if torch.mean(torch.abs(offset)) > 50:
            raise NotImplementedError
        sides = self.stride, self.padding, self.dilation
        return deform_conv2d(x, offset, self.weight, self.bias, *sides, mask=mask)
