"""KAIST_NET: a filter of its own for every pixel, blended with a picture drawn directly.

Mancini and Simonati, "Deep Image Deblurring", University of Bologna, 2020; after Sim and Kim, "A Deep Motion
Deblurring Network Based on Per-Pixel Adaptive Kernels With Residual Down-Up and Up-Down Modules", CVPR
Workshops 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from itertools import product
from operator import add
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.contract import FrameContract
from .keras_network import (
    FRAMES_OF_CHANNELS,
    LEAKY_SLOPE,
    HalvingConv,
    KerasLayers,
    KerasNetwork,
    conv_same,
    kernel_shape,
    leaky,
    middle_frame,
)
from .keras_weights import KerasWeights

#: residual blocks at full, half and quarter size on the way down, at quarter and half size on the way up
DOWN_FULL, DOWN_HALF, DOWN_QUARTER, UP_QUARTER, UP_HALF = 9, 9, 4, 4, 9
#: convolutions outside of blocks
AROUND_BLOCKS = 12
#: side of a pixel's filter
FILTER_SIDE = 5
#: largest distance at which a gradient is not zero, measured at every position modulo 8: 253 px to the right and
#: down, 140 to the left and up
HALO_PX = 253


class DownUp(nn.Module):
    """RDU: halved and doubled, added to the input."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        self.down = HalvingConv(channels, channels * 2, 5)
        self.up = nn.ConvTranspose2d(channels * 2, channels, 4, stride=2, padding=1)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return x + leaky(self.up(leaky(self.down(x), self.slope)), self.slope)


class UpDown(nn.Module):
    """RUD: doubled and halved, added to the input."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1)
        self.down = HalvingConv(channels // 2, channels, 5)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return x + leaky(self.down(leaky(self.up(x), self.slope)), self.slope)


def adaptive_filter(frame: Tensor, kernels: Tensor) -> Tensor:
    """Filter every pixel with a kernel of its own, the same for all colours; zeros lie outside.

    Args:
        frame: ``float [batch, 3, height, width]``.
        kernels: ``[batch, 25, height, width]``, rows of the 5x5 kernel one after the other, not normalised.

    Returns:
        ``[batch, 3, height, width]``.
    """
    height, width = frame.shape[2:]
    reach = FILTER_SIDE // 2
    padded = functional.pad(frame, (reach,) * 4)
    # slices instead of unfold: 25 maps less in memory
    parts = (
        padded[:, :, down : down + height, right : right + width] * kernels[:, tap : tap + 1]
        for tap, (down, right) in enumerate(product(range(FILTER_SIDE), repeat=2))
    )
    return reduce(add, parts)


class KaistNet(KerasNetwork):
    """KAIST_NET; blends the filtered current frame with a drawn picture.

    Args:
        in_frames: 1, or 3: previous, current, next.
        leaky_slope: Of every leaky ReLU; Sim and Kim's original has 0.2.
        kernel_branch_act: Whether the last but one convolution of the kernels' branch is activated,
            as in the original.
        channels: Width at full size.
    """

    output_layers = ("rgb", "kernel3")

    def __init__(
        self,
        *,
        in_frames: int = 1,
        leaky_slope: float = LEAKY_SLOPE,
        kernel_branch_act: bool = False,
        channels: int = 32,
    ) -> None:
        super().__init__()
        self.contract = FrameContract(window=in_frames, multiple=8, halo_px=HALO_PX, io="float")
        self.slope: float = leaky_slope
        self.kernel_branch_act = kernel_branch_act
        full, half, quarter = channels, channels * 2, channels * 4
        self.head = conv_same(3 * in_frames, full, 5)
        self.stage_full = nn.Sequential(*(DownUp(full, leaky_slope) for _ in range(DOWN_FULL)))
        self.to_half = conv_same(full, half, 1)
        self.stage_half = nn.Sequential(*(DownUp(half, leaky_slope) for _ in range(DOWN_HALF)))
        self.to_quarter = conv_same(half, quarter, 1)
        self.stage_quarter = nn.Sequential(
            *(DownUp(quarter, leaky_slope) for _ in range(DOWN_QUARTER)),
            *(UpDown(quarter, leaky_slope) for _ in range(UP_QUARTER)),
        )
        self.from_quarter = conv_same(quarter + half, half, 1)
        self.trunk = nn.Sequential(*(UpDown(half, leaky_slope) for _ in range(UP_HALF)))
        self.picture1, self.picture2 = conv_same(half, half, 5), conv_same(half + full, full, 1)
        self.picture3, self.rgb, self.blend = conv_same(full, full, 5), conv_same(full, 3, 5), conv_same(full, 1, 5)
        self.kernel1, self.kernel2 = conv_same(half, half, 5), conv_same(half, full, 5)
        self.kernel3 = conv_same(full, FILTER_SIDE**2, 5)

    def forward(self, frames: Tensor) -> Tensor:
        """Restore ``[batch, 3, height, width]`` from ``[batch, 3 * in_frames, …]``, sides multiples of 8."""
        full = self.stage_full(leaky(self.head(frames), self.slope))
        half = self.stage_half(self.to_half(functional.avg_pool2d(full, 2)))
        quarter = self.stage_quarter(self.to_quarter(functional.avg_pool2d(half, 2)))
        trunk = self.trunk(self.from_quarter(torch.cat([_double(quarter), half], dim=1)))
        drawn = self._draw(trunk, full)
        weight = torch.sigmoid(self.blend(drawn))
        filtered = adaptive_filter(middle_frame(frames), self._kernels(trunk))
        return weight * filtered + (1 - weight) * cast(Tensor, self.rgb(drawn))

    def _draw(self, trunk: Tensor, full: Tensor) -> Tensor:
        large = _double(leaky(self.picture1(trunk), self.slope))
        return leaky(self.picture3(self.picture2(torch.cat([large, full], dim=1))), self.slope)

    def _kernels(self, trunk: Tensor) -> Tensor:
        narrow = self.kernel2(_double(leaky(self.kernel1(trunk), self.slope)))
        return cast(Tensor, self.kernel3(leaky(narrow, self.slope) if self.kernel_branch_act else narrow))

    def keras_layers(self) -> KerasLayers:
        """List the layers in the order Keras made them."""
        convolutions = [
            self.head,
            *_each(self.stage_full, "down"),
            self.to_half,
            *_each(self.stage_half, "down"),
            self.to_quarter,
            *_each(self.stage_quarter, "down"),
            self.from_quarter,
            *_each(self.trunk, "down"),
            *(self.picture1, self.picture2, self.picture3, self.rgb, self.blend),
            *(self.kernel1, self.kernel2, self.kernel3),
        ]
        stacks = (self.stage_full, self.stage_half, self.stage_quarter, self.trunk)
        transposed = [layer for stack in stacks for layer in _each(stack, "up")]
        return KerasLayers(convolutions, transposed)

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read frames and width off this class's own keys; slopes do not show."""
        head, last = kernel_shape(state, "head.weight"), kernel_shape(state, "kernel3.weight")
        if head[2:] != (5, 5) or head[1] not in FRAMES_OF_CHANNELS or last != (FILTER_SIDE**2, head[0], 5, 5):
            return None
        return _options(FRAMES_OF_CHANNELS[head[1]], head[0])

    @classmethod
    def options_of_keras(cls, weights: KerasWeights) -> dict[str, Any] | None:
        """Read frames and width off the kernels, the slope off the model's description where there is one."""
        kernels, blocks = weights.kernels(), DOWN_FULL + DOWN_HALF + DOWN_QUARTER + UP_QUARTER + UP_HALF
        if len(kernels) != blocks + AROUND_BLOCKS or weights.count("conv2d_transpose") != blocks:
            return None
        height, _, given, made = kernels[0]
        if height != 5 or given not in FRAMES_OF_CHANNELS:
            return None
        slope = LEAKY_SLOPE if weights.slope is None else weights.slope
        return _options(FRAMES_OF_CHANNELS[given], made, slope)


def _double(x: Tensor) -> Tensor:
    """Twice the size, nearest neighbour."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _each(blocks: nn.Sequential, name: str) -> Iterator[nn.Module]:
    return (block.get_submodule(name) for block in blocks)


def _options(in_frames: int, channels: int, leaky_slope: float = LEAKY_SLOPE) -> dict[str, Any]:
    options = {"in_frames": in_frames, "channels": channels, "leaky_slope": leaky_slope}
    usual = {"in_frames": 1, "channels": 32, "leaky_slope": LEAKY_SLOPE}
    return {key: value for key, value in options.items() if value != usual[key]}
