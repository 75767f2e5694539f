"""What the three stages of MPRNet are made of (Zamir et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from .attention import ChannelAttention

ATTENTION_REDUCTION = 4


def conv(given: int, made: int, side: int = 3) -> nn.Conv2d:
    """Convolution that keeps the size, without bias."""
    return nn.Conv2d(given, made, side, padding=side // 2, bias=False)


class ChannelBlock(nn.Module):
    """CAB: two convolutions and channel attention, added to the input.

    Args:
        channels: Width.
        slope: The activation all blocks share.
    """

    def __init__(self, channels: int, slope: nn.PReLU) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels), slope, conv(channels, channels))
        self.CA = ChannelAttention(channels, ATTENTION_REDUCTION, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.CA(self.body(x)))


def _blocks(channels: int, slope: nn.PReLU, count: int = 2) -> nn.Sequential:
    return nn.Sequential(*(ChannelBlock(channels, slope) for _ in range(count)))


class Down(nn.Module):
    """Half the size, by the mean of 2x2 pixels: what bilinear halving of an even size is."""

    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.AvgPool2d(2), conv(given, made, 1))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.down(x))


class Up(nn.Module):
    """Twice the size, bilinear, and fewer channels; what the encoder kept is added where given."""

    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        double = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.up = nn.Sequential(double, conv(given, made, 1))

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        doubled = cast(Tensor, self.up(x))
        return doubled if kept is None else doubled + kept


class Encoder(nn.Module):
    """Three levels of two blocks; the second stage's adds the features of the first.

    Args:
        widths: Channels per level, finest first.
        slope: The shared activation.
        is_second: Whether features of the first stage are added.
    """

    def __init__(self, widths: Sequence[int], slope: nn.PReLU, *, is_second: bool) -> None:
        super().__init__()
        for level, width in enumerate(widths, start=1):
            self.add_module(f"encoder_level{level}", _blocks(width, slope))
            if is_second:
                self.add_module(f"csff_enc{level}", conv(width, width, 1))
                self.add_module(f"csff_dec{level}", conv(width, width, 1))
        self.down12, self.down23 = Down(widths[0], widths[1]), Down(widths[1], widths[2])

    def forward(
        self, x: Tensor, encoded: Sequence[Tensor] | None = None, decoded: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        levels = []
        for level, down in enumerate((None, self.down12, self.down23), start=1):
            x = self.get_submodule(f"encoder_level{level}")(x if down is None else down(x))
            if encoded is not None and decoded is not None:
                x = x + self.get_submodule(f"csff_enc{level}")(encoded[level - 1])
                x = x + self.get_submodule(f"csff_dec{level}")(decoded[level - 1])
            levels.append(x)
        return levels


class Decoder(nn.Module):
    """Back from the coarsest level to the finest, with one block on each skip."""

    def __init__(self, widths: Sequence[int], slope: nn.PReLU) -> None:
        super().__init__()
        self.decoder_level1, self.decoder_level2, self.decoder_level3 = (_blocks(width, slope) for width in widths)
        self.skip_attn1, self.skip_attn2 = ChannelBlock(widths[0], slope), ChannelBlock(widths[1], slope)
        self.up21, self.up32 = Up(widths[1], widths[0]), Up(widths[2], widths[1])

    def forward(self, encoded: Sequence[Tensor]) -> list[Tensor]:
        third = self.decoder_level3(encoded[2])
        second = self.decoder_level2(self.up32(third, self.skip_attn2(encoded[1])))
        first = self.decoder_level1(self.up21(second, self.skip_attn1(encoded[0])))
        return [first, second, third]


class SupervisedAttention(nn.Module):
    """SAM: draws the stage's picture and gates the features with it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = conv(channels, channels, 1), conv(channels, 3, 1), conv(3, channels, 1)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        picture = self.conv2(x) + frames
        return self.conv1(x) * torch.sigmoid(self.conv3(picture)) + x, picture


class ResidualBlocks(nn.Module):
    """ORB: several blocks and a convolution, added to the input."""

    def __init__(self, channels: int, blocks: int, slope: nn.PReLU) -> None:
        super().__init__()
        self.body = nn.Sequential(*_blocks(channels, slope, blocks), conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.body(x))


class OriginalResolution(nn.Module):
    """Third stage: three groups at full size, each followed by the second stage's features of one level.

    Args:
        widths: Channels per level of the second stage, finest first.
        channels: Its own width.
        blocks: Channel attention blocks per group.
        slope: The shared activation.
    """

    def __init__(self, widths: Sequence[int], channels: int, blocks: int, slope: nn.PReLU) -> None:
        super().__init__()
        for level in (1, 2, 3):
            self.add_module(f"orb{level}", ResidualBlocks(channels, blocks, slope))
            for side in ("enc", "dec"):
                self.add_module(f"conv_{side}{level}", conv(widths[0], channels, 1))
        for side in ("enc", "dec"):
            self.add_module(f"up_{side}1", Up(widths[1], widths[0]))
            self.add_module(f"up_{side}2", nn.Sequential(Up(widths[2], widths[1]), Up(widths[1], widths[0])))

    def forward(self, x: Tensor, encoded: Sequence[Tensor], decoded: Sequence[Tensor]) -> Tensor:
        for level in (1, 2, 3):
            x = self.get_submodule(f"orb{level}")(x)
            for side, features in (("enc", encoded), ("dec", decoded)):
                same_size = features[level - 1]
                if level > 1:
                    same_size = self.get_submodule(f"up_{side}{level - 1}")(same_size)
                x = x + self.get_submodule(f"conv_{side}{level}")(same_size)
        return x
