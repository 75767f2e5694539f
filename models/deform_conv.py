"""Modulated deformable convolution (DCNv2) in plain PyTorch: sample, mask, multiply.

Zhu, Hu, Lin and Dai, "Deformable ConvNets v2", CVPR 2019. Channel order of offsets and masks is the
one EDVR, BasicSR, mmcv, torchvision and ONNX ``DeformConv`` share.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import ContractError, UsageError

#: a whole number for both directions, or (vertical, horizontal)
Pair = int | tuple[int, int]


def modulated_deform_conv2d(  # noqa: PLR0913 - inputs and attributes of the operator
    features: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
) -> Tensor:
    """Convolve features sampled off the grid; each of the K = kernel_height * kernel_width taps has its own place.

    Samples are bilinear; what lies outside the map counts as zero. Positions are computed in fp32
    (float64 stays float64), since half precision has no fractions left in wide maps. Takes
    ``made * K * in_channels / convolution_groups`` multiply-accumulates per output pixel and memory
    for ``K * in_channels`` values per output pixel.

    Args:
        features: ``float [batch, in_channels, height, width]``.
        offset: ``[batch, groups * 2 * K, out_height, out_width]`` pixels; vertical then horizontal for
            each tap, taps row by row, deformable group after group. The number of groups is read off.
        mask: ``[batch, groups * K, out_height, out_width]`` factors of the samples, in the same order;
            the caller has applied the sigmoid.
        weight: ``[out_channels, in_channels / convolution_groups, kernel_height, kernel_width]``.
        bias: ``[out_channels]`` or None.
        stride: Of the convolution, pixels, like ``padding`` and ``dilation``.
        padding: Zeros around the map.
        dilation: Distance between taps.

    Returns:
        ``[batch, out_channels, out_height, out_width]``.

    Raises:
        ContractError: Channels of offset, mask, weight and features do not fit each other.
    """
    groups = _deformable_groups(features, offset, mask, weight)
    taps = weight.shape[2] * weight.shape[3]
    batch, channels = features.shape[:2]
    rows, columns = offset.shape[2:]
    exact = torch.promote_types(features.dtype, torch.float32)
    shifts = offset.to(exact).reshape(batch, groups, taps, 2, rows, columns)
    positions = shifts + _tap_positions(shifts, weight, _pair(stride), _pair(padding), _pair(dilation))
    grid = _normalised(positions, features).reshape(batch * groups, taps * rows, columns, 2)
    sampled = functional.grid_sample(
        features.to(exact).reshape(batch * groups, channels // groups, *features.shape[2:]),
        grid,
        padding_mode="zeros",
        align_corners=False,
    )
    scaled = sampled.to(features.dtype).reshape(batch, groups, -1, taps, rows, columns)
    scaled = scaled * mask.reshape(batch, groups, 1, taps, rows, columns)
    # a 1x1 convolution is the matrix product; as such it is counted, quantised and exported
    return functional.conv2d(
        scaled.reshape(batch, channels * taps, rows, columns),
        weight.flatten(1)[:, :, None, None],
        bias,
        groups=channels // weight.shape[1],
    )


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _deformable_groups(features: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> int:
    taps, channels = weight.shape[2] * weight.shape[3], features.shape[1]
    groups = offset.shape[1] // (2 * taps)
    if groups == 0 or offset.shape[1] != groups * 2 * taps or mask.shape[1] != groups * taps or channels % groups:
        raise ContractError(
            f"offset has {offset.shape[1]} channels and mask {mask.shape[1]}, expected {2 * taps} and {taps} for each "
            f"deformable group of a kernel of {taps} taps, with groups that divide the {channels} channels of features"
        )
    if channels % weight.shape[1] or weight.shape[0] % (channels // weight.shape[1]):
        raise ContractError(
            f"weight is {list(weight.shape)}, expected [out, in / groups, height, width] for {channels} channels"
        )
    return groups


def _tap_positions(
    shifts: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> Tensor:
    """Where each tap falls without offsets: ``[taps, 2, out_height, out_width]``, row and column."""

    def along(axis: int) -> Tensor:
        """Pixels ``[taps on this axis, outputs on this axis]``."""
        taps = torch.arange(weight.shape[2 + axis], device=shifts.device, dtype=shifts.dtype) * dilation[axis]
        outputs = torch.arange(shifts.shape[4 + axis], device=shifts.device, dtype=shifts.dtype) * stride[axis]
        return taps[:, None] + outputs - padding[axis]

    size = (*weight.shape[2:], *shifts.shape[4:])
    down = along(0)[:, None, :, None].expand(size)
    across = along(1)[None, :, None, :].expand(size)
    return torch.stack([down.flatten(0, 1), across.flatten(0, 1)], dim=1)


def _normalised(positions: Tensor, features: Tensor) -> Tensor:
    """Turn pixels ``[batch, groups, taps, 2, rows, columns]`` into grid_sample's ``[..., rows, columns, (x, y)]``.

    The form with half-pixel corners is taken because the other divides by zero on maps one pixel wide.
    """
    down, across = positions.unbind(3)
    height, width = features.shape[2:]
    return torch.stack([(2 * across + 1) / width - 1, (2 * down + 1) / height - 1], dim=-1)


class ModulatedDeformConv2d(nn.Module):
    """Deformable convolution of stride 1 that reads its offsets and masks off other features ("DCNv2 pack").

    Offsets start at zero and masks at one half.

    Args:
        in_channels: Of the features that are sampled, and of those the offsets are read off.
        out_channels: Of the result.
        kernel_size: Odd side of the kernel, pixels; padded so that the size stays.
        deformable_groups: Groups of channels with offsets of their own.

    Raises:
        UsageError: The groups do not divide ``in_channels``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 3, *, deformable_groups: int = 1
    ) -> None:
        super().__init__()
        if in_channels % deformable_groups:
            raise UsageError(
                f"{in_channels} channels do not fall into {deformable_groups} deformable groups; take a multiple"
            )
        self.padding = kernel_size // 2
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        numbers = 3 * deformable_groups * kernel_size**2
        self.conv_offset_mask = nn.Conv2d(in_channels, numbers, kernel_size, padding=self.padding)
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        nn.init.zeros_(self.conv_offset_mask.weight)
        nn.init.zeros_(cast(Tensor, self.conv_offset_mask.bias))

    def forward(self, features: Tensor, guide: Tensor) -> Tensor:
        """Sample ``features`` where ``guide`` says, both ``[batch, in_channels, height, width]``."""
        numbers = self.conv_offset_mask(guide)
        taps = numbers.shape[1] // 3
        offset, mask = numbers[:, : 2 * taps], torch.sigmoid(numbers[:, 2 * taps :])
        return modulated_deform_conv2d(features, offset, mask, self.weight, self.bias, padding=self.padding)
