"""Channel attention blocks that several networks share."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Scale each channel by a gate computed from its global mean (Zhang et al., RCAN, ECCV 2018).

    Args:
        channels: Of the map.
        reduction: How many times narrower the gate's hidden layer is.
        bias: Whether its convolutions have one.
    """

    def __init__(self, channels: int, reduction: int, *, bias: bool) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv_du = nn.Sequential(
            nn.Conv2d(channels, channels // reduction, 1, bias=bias),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // reduction, channels, 1, bias=bias),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * cast(Tensor, self.conv_du(self.avg_pool(x)))


class MultiScaleAttention(nn.Module):
    """MS-CAM: gate every value by its own surroundings and by the global mean (Dai et al., WACV 2021)."""

    def __init__(self, channels: int, reduction: int, *, bias: bool) -> None:
        super().__init__()
        narrow = channels // reduction
        self.local_att = nn.Sequential(
            nn.Conv2d(channels, narrow, 1, bias=bias), nn.ReLU(inplace=True), nn.Conv2d(narrow, channels, 1, bias=bias)
        )
        self.global_att = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, narrow, 1, bias=bias),
            nn.ReLU(inplace=True),
            nn.Conv2d(narrow, channels, 1, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.local_att(x) + self.global_att(x))


class MultiScaleResidualBlock(nn.Module):
    """RMS block: two 3x3 convolutions and MS-CAM, added to the input."""

    def __init__(self, channels: int, reduction: int, *, bias: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=bias),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=bias),
            MultiScaleAttention(channels, reduction, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.body(x))
