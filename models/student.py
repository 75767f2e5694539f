"""The small networks that ship: plain U-Nets of Conv, ReLU, Add and pixel shuffles.

Every operator is one that INT8 runs fast on CPUs and TensorRT alike; there is no normalisation,
attention, dilation or depthwise convolution. The picture is folded into channels first
(``unshuffle``), so that no convolution runs at full resolution.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .student_config import StudentConfig

#: how much of a residual block's own branch counts at the start
RESIDUAL_GAIN = 0.3


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a ReLU between them, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.conv2(functional.relu(self.conv1(x))))


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


class Student(nn.Module):
    """U-Net with additive skips that predicts a correction of its input.

    Takes and returns ``float32 [batch, 3, height, width]`` RGB in 0..1; height and width must be
    multiples of ``config.multiple``. The result is not clamped.

    Args:
        config: Widths and depths.
        tail_gain: Scale of the last convolution's initial weights. Zero starts at "do nothing" and
            can stay there; 0.05 starts close to it and trains.
    """

    def __init__(self, config: StudentConfig, tail_gain: float = 0.05) -> None:
        super().__init__()
        self.config = config
        widths, folded = config.widths, 3 * config.unshuffle**2
        self.head = nn.Conv2d(folded, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(map(_blocks, widths, config.encoder_blocks))
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine * 4, 1) for fine, coarse in pairwise(widths))
        self.decoder = nn.ModuleList(map(_blocks, widths[:-1], config.decoder_blocks))
        self.tail = nn.Conv2d(widths[0], folded, 3, padding=1)
        self._initialise(tail_gain)

    def _initialise(self, tail_gain: float) -> None:
        """Keep the variance from layer to layer; without normalisation He's gain would double it."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                nn.init.zeros_(cast(Tensor, module.bias))
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, ResidualBlock):
                    module.conv2.weight.mul_(RESIDUAL_GAIN)
            self.tail.weight.mul_(tail_gain)

    def forward(self, x: Tensor) -> Tensor:
        fold = self.config.unshuffle
        features = cast(Tensor, self.head(functional.pixel_unshuffle(x - 0.5, fold)))
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.encoder):
            features = blocks(features)
            if level < len(self.down):
                skips.append(features)
                features = self.down[level](features)
        for level in reversed(range(len(self.up))):
            raised = functional.pixel_shuffle(self.up[level](features), 2)
            features = self.decoder[level](raised + skips[level])
        return x + functional.pixel_shuffle(self.tail(features), fold)
