"""EACD: edge module, ASPP, channel attention, dual network ("Blur Attack").

Kim and Jeong, fact sheet of the NTIRE 2021 image deblurring challenge, track 2. One instance of each
block is used several times with the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..core.contract import FrameContract
from ..core.errors import UsageError
from .network import DeblurNetwork

KERNEL_SIDES = (1, 3, 5, 7)
ASPP_DILATIONS = (6, 12, 18)
#: passes of the shared residual pair in one group
GROUP_PASSES = 9
ATTENTION_REDUCTION = 16
#: blocks of the branch "two" between its first and its last two convolutions, by their dilation
BRANCH_TWO_DILATIONS = (2,) * 6 + (1,) * 2 + (2,) * 6
BRANCH_ONE_BLOCKS = 15
#: the authors' width
CHANNELS = 64
#: keys by which a state dict is known, and how many axes each has; folding and dropping leave none of the last two
KNOWN_BY = {"kernelbox.kernel7.weight": 4, "aspp.conv18.0.weight": 4, "one.3.running_mean": 1, "block1.0.weight": 4}


def _conv(given: int, made: int, side: int = 3, *, dilation: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(given, made, side, padding=dilation * (side // 2), dilation=dilation, bias=bias)


class FeatureBlock(nn.Module):
    """Kernels of four sizes side by side, condensed to three channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for side in KERNEL_SIDES:
            self.add_module(f"kernel{side}", _conv(3, channels, side))
        self.feat2feat = _conv(channels * len(KERNEL_SIDES), channels, 1)
        self.conv2 = _conv(channels, channels)
        self.conv = _conv(channels, 3, 1)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        sides = [self.act(self.get_submodule(f"kernel{side}")(x)) for side in KERNEL_SIDES]
        narrow = self.act(self.feat2feat(torch.cat(sides, dim=1)))
        return cast(Tensor, self.conv(self.act(self.conv2(narrow))))


class DenseLayer(nn.Module):
    """A convolution whose result is appended to its input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.conv = _conv(channels, growth, bias=False)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.act(self.conv(x))], dim=1)


class ResidualDenseBlock(nn.Module):
    """Three dense layers condensed, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        growth = channels // 2
        self.dense_layers = nn.Sequential(*(DenseLayer(channels + growth * place, growth) for place in range(3)))
        self.conv_1x1 = _conv(channels + growth * 3, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.conv_1x1(self.dense_layers(x)))


class DilatedPyramid(nn.Module):
    """ASPP: the same features seen at four dilations; the caller adds the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(_conv(channels, channels, 1))
        for dilation in ASPP_DILATIONS:
            self.add_module(f"conv{dilation}", nn.Sequential(_conv(channels, channels, dilation=dilation, bias=False)))
        self.feat2feat = _conv(channels * 4, channels, 1)
        self.platlayer = nn.Sequential(nn.SiLU(), _conv(channels, channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        views = [self.conv1(x), *(self.get_submodule(f"conv{dilation}")(x) for dilation in ASPP_DILATIONS)]
        return cast(Tensor, self.platlayer(self.feat2feat(torch.cat(views, dim=1))))


class AttentionBlock(nn.Module):
    """RCAB: two convolutions gated by a global mean, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = channels // ATTENTION_REDUCTION
        self.firstblock = nn.Sequential(
            _conv(channels, channels, bias=False), nn.SiLU(), _conv(channels, channels, bias=False)
        )
        self.cab = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), _conv(channels, narrow, 1), nn.SiLU(), _conv(narrow, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.firstblock(x)
        gate: Tensor = self.cab(features)
        return x + features * gate


class ResidualGroup(nn.Module):
    """RG: one residual pair nine times in a row, a convolution, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block1 = nn.Sequential(_conv(channels, channels), nn.SiLU(), _conv(channels, channels))
        self.conv32 = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for _ in range(GROUP_PASSES):
            features = self.block1(features) + features
        return x + cast(Tensor, self.conv32(features))


def _normalised(channels: int, dilations: tuple[int, ...], *, bias: bool) -> list[nn.Module]:
    """Convolution, batch norm and SiLU for each dilation."""
    layers: list[nn.Module] = []
    for dilation in dilations:
        layers += [
            _conv(channels, channels, dilation=dilation, bias=bias),
            nn.BatchNorm2d(channels),
            nn.SiLU(),
        ]
    return layers


def _chain(*channels: int, side: int = 3, bias: bool = True) -> nn.Sequential:
    """Convolutions with SiLU between them, not after the last."""
    layers: list[nn.Module] = []
    for given, made in pairwise(channels):
        layers += [_conv(given, made, side, bias=bias), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class Eacd(DeblurNetwork):
    """EACD; adds a correction to its input. ``forward_all`` returns the picture and the edges.

    Args:
        channels: Width; the authors' is 64.

    Raises:
        UsageError: The gates, a sixteenth as wide, would have no channel.
    """

    output_layers = ("lastblock.0",)
    #: built by the authors' code, in their checkpoint, never called
    unused: tuple[str, ...] = ("block1", "block2", "conv32", "featconv", "feat4conv")

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        if channels < ATTENTION_REDUCTION:
            raise UsageError(f"channels={channels}; expected at least {ATTENTION_REDUCTION}")
        self.contract = FrameContract(task="deblur_jpeg", io="float")
        width = channels
        self.edgeblock = _chain(3, *[width] * 5, 3, bias=False)
        self.kernelbox = FeatureBlock(width)
        self.conv2 = _conv(12, width)
        self.RDB, self.aspp, self.RCAB = ResidualDenseBlock(width), DilatedPyramid(width), AttentionBlock(width)
        self.conv3 = _conv(width, width)
        self.one = nn.Sequential(
            _conv(width, width),
            nn.SiLU(),
            *_normalised(width, (1,) * BRANCH_ONE_BLOCKS, bias=True),
            _conv(width, width),
        )
        self.two = nn.Sequential(
            _conv(width, width),
            nn.SiLU(),
            *_normalised(width, BRANCH_TWO_DILATIONS, bias=False),
            _conv(width, width),
            nn.SiLU(),
            _conv(width, width),
        )
        self.feat2conv = _conv(width * 2, width)
        self.RG = ResidualGroup(width)
        self.lastblock = nn.Sequential(_conv(width, 3, 1))
        self._add_unused(width)

    def _add_unused(self, width: int) -> None:
        self.block1 = nn.Sequential(_conv(width * 2, width * 2), nn.SiLU(), _conv(width * 2, width * 2))
        self.block2 = nn.Sequential(_conv(width * 2, width * 2), nn.BatchNorm2d(width * 2))
        self.conv32 = _conv(width * 2, width * 2)
        self.featconv = _conv(width * 3, width)
        self.feat4conv = _conv(width * 6, width * 2, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Restore ``[batch, 3, height, width]`` of any size."""
        return self.forward_all(frames)[0]

    def forward_all(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the restored picture and the edges, both ``[batch, 3, height, width]``."""
        edge = frames - self.edgeblock(frames)
        features = self._entry(frames, edge)
        attended = self.conv3(self.RCAB(self.RCAB(self.RCAB(features)))) + features
        merged = self._dual(attended)
        dense = self.RDB(self.RDB(merged))
        once = self.aspp(dense) + dense
        twice = self.aspp(once) + once
        attended = self.conv3(self.RCAB(self.RCAB(self.RCAB(twice)))) + twice
        grouped = self.conv3(self.RG(self.RG(self.RG(attended)))) + attended
        return self.lastblock(grouped) + frames, edge

    def _entry(self, frames: Tensor, edge: Tensor) -> Tensor:
        entry = self.conv2(torch.cat([frames, self.kernelbox(frames), frames + edge, edge], dim=1))
        dense = self.RDB(self.RDB(entry))
        return cast(Tensor, self.aspp(dense) + dense)

    def _dual(self, x: Tensor) -> Tensor:
        first = self.feat2conv(torch.cat([self.one(x), x], dim=1)) + x
        second = self.feat2conv(torch.cat([self.two(x), x], dim=1)) + x
        return cast(Tensor, self.feat2conv(torch.cat([first, second], dim=1)))

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read the width off the authors' keys, if it is not the usual one."""
        if any(key not in state or state[key].ndim != axes for key, axes in KNOWN_BY.items()):
            return None
        width = state["kernelbox.kernel7.weight"].shape[0]
        return {} if width == CHANNELS else {"channels": width}
