"""ATROUS_NET: blocks of four dilations at half size, one skip at full size.

Mancini and Simonati, "Deep Image Deblurring", University of Bologna, 2020; after Brehm, Scherer and Lienhart,
"High-Resolution Dual-Stage Multi-Level Feature Aggregation for Single Image and Video Deblurring", CVPR
Workshops 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..core.contract import FrameContract
from .keras_network import (
    FRAMES_OF_CHANNELS,
    LEAKY_SLOPE,
    DoublingConv,
    HalvingConv,
    KerasLayers,
    KerasNetwork,
    conv_same,
    kernel_shape,
    middle_frame,
)
from .keras_weights import KerasWeights

DILATIONS = (1, 2, 3, 4)
#: of Keras' BatchNormalization; its momentum 0.99 is 0.01 in PyTorch's count
BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM = 1e-3, 0.01
#: convolutions outside of blocks
AROUND_BLOCKS = 4
#: how far the layers around the blocks, and one block, reach at full size
REACH_PX, BLOCK_REACH_PX = 8, 10


def _activated(layer: nn.Module, channels: int, *, batch_norm: bool) -> nn.Sequential:
    """A layer, its norm where wanted, and leaky ReLU."""
    norm = [nn.BatchNorm2d(channels, BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM)] if batch_norm else []
    return nn.Sequential(layer, *norm, nn.LeakyReLU(LEAKY_SLOPE))


class AtrousBlock(nn.Module):
    """Four dilated convolutions side by side, joined, added to the input."""

    def __init__(self, channels: int, *, batch_norm: bool) -> None:
        super().__init__()
        half = channels // 2
        self.branches = nn.ModuleList(
            _activated(conv_same(channels, half, dilation=dilation), half, batch_norm=batch_norm)
            for dilation in DILATIONS
        )
        self.fuse = _activated(conv_same(half * len(DILATIONS), channels), channels, batch_norm=batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.cat([branch(x) for branch in self.branches], dim=1)
        return x + cast(Tensor, self.fuse(wide))


class AtrousNet(KerasNetwork):
    """ATROUS_NET; corrects the current frame.

    Args:
        blocks: Atrous blocks: 10 for REDS, 5 for CIFAR-10.
        channels: Width at half size.
        in_frames: 1, or 3: previous, current, next.
        batch_norm: Whether every convolution but the last is followed by batch norm.
    """

    output_layers = ("tail",)
    slope = LEAKY_SLOPE

    def __init__(self, *, blocks: int = 10, channels: int = 256, in_frames: int = 1, batch_norm: bool = False) -> None:
        super().__init__()
        halo = REACH_PX + BLOCK_REACH_PX * blocks
        self.contract = FrameContract(window=in_frames, multiple=2, halo_px=halo, io="float")
        half, quarter = channels // 2, channels // 4
        self.head = _activated(conv_same(3 * in_frames, half, 9), half, batch_norm=batch_norm)
        self.down = _activated(HalvingConv(half, channels, 3), channels, batch_norm=batch_norm)
        self.blocks = nn.Sequential(*(AtrousBlock(channels, batch_norm=batch_norm) for _ in range(blocks)))
        self.up = _activated(DoublingConv(channels, half), half, batch_norm=batch_norm)
        self.merge = _activated(conv_same(channels, quarter), quarter, batch_norm=batch_norm)
        self.tail = conv_same(quarter, 3)
        self._initialise()

    def _initialise(self) -> None:
        """Start from He's normal distribution, as the authors do, and Keras' zero biases."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(cast(Tensor, module.bias))

    def forward(self, frames: Tensor) -> Tensor:
        """Restore ``[batch, 3, height, width]`` from ``[batch, 3 * in_frames, height, width]``, even sides."""
        kept = self.head(frames)
        grown = self.up(self.blocks(self.down(kept)))
        return cast(Tensor, self.tail(self.merge(torch.cat([grown, kept], dim=1)))) + middle_frame(frames)

    def keras_layers(self) -> KerasLayers:
        """List the layers in the order Keras made them."""
        parts = [self.head, self.down]
        for block in self.blocks:
            parts += [*cast(AtrousBlock, block).branches, cast(AtrousBlock, block).fuse]
        ordered = [*parts, self.up, self.merge]
        convolutions = [layer for part in [*parts, self.merge] for layer in part if isinstance(layer, nn.Conv2d)]
        norms = [layer for part in ordered for layer in part if isinstance(layer, nn.BatchNorm2d)]
        return KerasLayers([*convolutions, self.tail], [self.up[0]], norms)

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read the options off this class's own keys."""
        head, down = kernel_shape(state, "head.0.weight"), kernel_shape(state, "down.0.weight")
        blocks = 0
        while f"blocks.{blocks}.fuse.0.weight" in state:
            blocks += 1
        if not blocks or head[2:] != (9, 9) or head[1] not in FRAMES_OF_CHANNELS or down[1:] != (head[0], 3, 3):
            return None
        return _options(blocks, down[0], FRAMES_OF_CHANNELS[head[1]], batch_norm="head.1.running_mean" in state)

    @classmethod
    def options_of_keras(cls, weights: KerasWeights) -> dict[str, Any] | None:
        """Read the options off the number and the shapes of the kernels."""
        kernels = weights.kernels()
        blocks, rest = divmod(len(kernels) - AROUND_BLOCKS, len(DILATIONS) + 1)
        if weights.count("conv2d_transpose") != 1 or blocks < 1 or rest:
            return None
        height, _, given, _ = kernels[0]
        if height != 9 or given not in FRAMES_OF_CHANNELS:
            return None
        batch_norm = weights.count("batch_normalization") > 0
        return _options(blocks, kernels[1][3], FRAMES_OF_CHANNELS[given], batch_norm=batch_norm)


def _options(blocks: int, channels: int, in_frames: int, *, batch_norm: bool) -> dict[str, Any]:
    options = {"blocks": blocks, "channels": channels, "in_frames": in_frames, "batch_norm": batch_norm}
    usual = {"blocks": 10, "channels": 256, "in_frames": 1, "batch_norm": False}
    return {key: value for key, value in options.items() if value != usual[key]}
