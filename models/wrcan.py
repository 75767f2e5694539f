"""WRCAN: a wide receptive field from parallel dilations, and channel attention.

Lee, Lee and Kim, "Wide Receptive Field and Channel Attention Network for JPEG Compressed Image
Deblurring", CVPR Workshops 2021.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..core.contract import FrameContract
from ..core.errors import UsageError
from .attention import ChannelAttention
from .network import DeblurNetwork

DILATIONS = (1, 2, 3, 4)
ATTENTION_REDUCTION = 16
#: the trunk has four times as many channels, and the gates a sixteenth of those
LEAST_FEATS = 4
#: keys by which a state dict is known
KNOWN_BY = ("head.0.weight", "body_exp.0.weight", "body.0.body.0.shrink.0.weight")
#: key of the convolution that joins the branches of a block; its group and its place in the group
BLOCK_KEY = re.compile(r"body\.(\d+)\.body\.(\d+)\.shrink\.0\.weight")


def _conv(given: int, made: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(given, made, 3, stride, padding=dilation, dilation=dilation)


def _conv_relu(given: int, made: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv(given, made, dilation=dilation), nn.ReLU(inplace=True))


class WideBlock(nn.Module):
    """WRCA block: four dilated convolutions side by side, joined, gated, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.dilated_parallel = nn.ModuleList(_conv_relu(channels, half, dilation) for dilation in DILATIONS)
        self.shrink = nn.Sequential(_conv(half * len(DILATIONS), channels))
        self.channel_attention = nn.Sequential(ChannelAttention(channels, ATTENTION_REDUCTION, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.cat([branch(x) for branch in self.dilated_parallel], dim=1)
        return x + cast(Tensor, self.channel_attention(self.shrink(wide)))


class ResidualGroup(nn.Module):
    """Several WRCA blocks and a convolution, added to the input."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(WideBlock(channels) for _ in range(blocks)), _conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.body(x))


class Encoder(nn.Module):
    """Features at one scale, kept for the decoder, and their halving."""

    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.layers = _conv_relu(given, made)
        self.pool = nn.Sequential(_conv(made, made, stride=2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept = self.layers(x)
        return self.pool(kept), kept


class Decoder(nn.Module):
    """Doubling by pixel shuffle, merged with what the encoder kept."""

    def __init__(self, given: int) -> None:
        super().__init__()
        made = given // 2
        self.upsampler = nn.Sequential(nn.Sequential(_conv(given, made * 4), nn.PixelShuffle(2)))
        self.layers = _conv_relu(given, made)

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        return cast(Tensor, self.layers(torch.cat([kept, self.upsampler(x)], dim=1)))


class Wrcan(DeblurNetwork):
    """WRCAN; draws the picture itself, its skip lies between features.

    Args:
        n_feats: Channels of the head; the trunk has four times as many.
        n_resgroups: Residual groups.
        n_resblocks: WRCA blocks per group.

    Raises:
        UsageError: An option is impossible.
    """

    output_layers = ("tail.0",)

    def __init__(self, *, n_feats: int = 64, n_resgroups: int = 4, n_resblocks: int = 16) -> None:
        super().__init__()
        if n_feats < LEAST_FEATS or min(n_resgroups, n_resblocks) < 1:
            raise UsageError(
                f"n_feats={n_feats}, n_resgroups={n_resgroups}, n_resblocks={n_resblocks}; "
                f"expected at least {LEAST_FEATS}, 1 and 1"
            )
        trunk = n_feats * 4
        self.contract = FrameContract(task="deblur_jpeg", multiple=4, io="float")
        self.head = nn.Sequential(_conv(3, n_feats))
        self.encoder = nn.ModuleList([Encoder(n_feats, n_feats), Encoder(n_feats, n_feats * 2)])
        self.body_exp = nn.Sequential(_conv(n_feats * 2, trunk))
        groups = (ResidualGroup(trunk, n_resblocks) for _ in range(n_resgroups))
        self.body = nn.Sequential(*groups, _conv(trunk, trunk))
        self.decoder = nn.ModuleList([Decoder(trunk), Decoder(n_feats * 2)])
        self.tail = nn.Sequential(_conv(n_feats, 3))

    def forward(self, frames: Tensor) -> Tensor:
        """Restore ``[batch, 3, height, width]``, sides multiples of 4."""
        features, kept, expanded = self._encode(frames)
        return self._decode(features, kept, expanded + cast(Tensor, self.body(expanded)))

    def autoencode(self, frames: Tensor) -> Tensor:
        """Draw frames without the trunk, the auxiliary path of training; shapes as for ``forward``."""
        return self._decode(*self._encode(frames))

    def _encode(self, frames: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        features = x = self.head(frames)
        kept = []
        for encoder in self.encoder:
            x, skip = encoder(x)
            kept.append(skip)
        return features, kept, self.body_exp(x)

    def _decode(self, features: Tensor, kept: list[Tensor], x: Tensor) -> Tensor:
        for decoder, skip in zip(self.decoder, reversed(kept), strict=True):
            x = decoder(x, skip)
        return cast(Tensor, self.tail(x + features))

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read width and depth off the authors' keys, those that are not the usual ones."""
        if any(key not in state or state[key].ndim != 4 for key in KNOWN_BY):
            return None
        places = [found.groups() for found in map(BLOCK_KEY.fullmatch, state) if found]
        options = {
            "n_feats": state["head.0.weight"].shape[0],
            "n_resgroups": len({group for group, _ in places}),
            "n_resblocks": len({block for _, block in places}),
        }
        usual = inspect.signature(cls).parameters
        return {name: value for name, value in options.items() if value != usual[name].default}
