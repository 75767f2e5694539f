"""MPRNet: three stages on quarters, halves and the whole picture.

Zamir et al., "Multi-Stage Progressive Image Restoration", CVPR 2021. No convolution has a bias, and
one learned slope serves every activation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..core.contract import FrameContract
from .mprnet_stages import ChannelBlock, Decoder, Encoder, OriginalResolution, SupervisedAttention, conv
from .network import DeblurNetwork


class MprNet(DeblurNetwork):
    """MPRNet; every stage corrects the input. ``forward_all`` returns stages 3, 2 and 1.

    Args:
        n_feat: Channels of the finest level of the first two stages.
        scale_unetfeats: Channels each coarser level has more.
        scale_orsnetfeats: Channels the third stage has more.
        num_cab: Channel attention blocks per block of the third stage.
    """

    output_layers = ("sam12.conv2", "sam23.conv2", "tail")

    def __init__(
        self, *, n_feat: int = 96, scale_unetfeats: int = 48, scale_orsnetfeats: int = 32, num_cab: int = 8
    ) -> None:
        super().__init__()
        self.contract = FrameContract(multiple=8, io="float")
        slope = nn.PReLU()
        widths = (n_feat, n_feat + scale_unetfeats, n_feat + 2 * scale_unetfeats)
        wide = n_feat + scale_orsnetfeats
        for stage in (1, 2, 3):
            self.add_module(f"shallow_feat{stage}", nn.Sequential(conv(3, n_feat), ChannelBlock(n_feat, slope)))
        self.stage1_encoder = Encoder(widths, slope, is_second=False)
        self.stage1_decoder = Decoder(widths, slope)
        self.stage2_encoder = Encoder(widths, slope, is_second=True)
        self.stage2_decoder = Decoder(widths, slope)
        self.stage3_orsnet = OriginalResolution(widths, wide, num_cab, slope)
        self.sam12, self.sam23 = SupervisedAttention(n_feat), SupervisedAttention(n_feat)
        self.concat12 = conv(n_feat * 2, n_feat)
        self.concat23 = conv(n_feat * 2, wide)
        self.tail = conv(wide, 3)

    def forward(self, frames: Tensor) -> Tensor:
        """Restore ``[batch, 3, height, width]``, sides multiples of 8."""
        return cast(Tensor, self.tail(self.features(frames)[0])) + frames

    def forward_all(self, frames: Tensor) -> Any:
        """Return what stages 3, 2 and 1 restore, each ``[batch, 3, height, width]``."""
        features, second, first = self.features(frames)
        return [cast(Tensor, self.tail(features)) + frames, second, first]

    def features(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run all three stages: features before the tail, and the pictures of stages 2 and 1."""
        halves = _split(frames, 2)
        shared, first = self._first_stage(halves)
        attended, second = self._second_stage(frames, halves, shared)
        return self._third_stage(frames, attended), second, _join(first, 2)

    def _first_stage(self, halves: Tensor) -> tuple[tuple[list[Tensor], list[Tensor], Tensor], Tensor]:
        """Encode quarters and decode halves: encoder, decoder and attended features, and the picture, by halves.

        Parts of a picture lie in the batch: weights are shared, and the pools see each part alone.
        """
        quarters = _split(halves, 3)
        encoded = [_join(level, 3) for level in self.stage1_encoder(self.get_submodule("shallow_feat1")(quarters))]
        decoded = self.stage1_decoder(encoded)
        attended, picture = self.sam12(decoded[0], halves)
        return (encoded, decoded, attended), picture

    def _second_stage(
        self, frames: Tensor, halves: Tensor, shared: tuple[list[Tensor], list[Tensor], Tensor]
    ) -> tuple[tuple[Tensor, list[Tensor], list[Tensor]], Tensor]:
        """Encode halves and decode the whole: attended features, encoder and decoder features, and the picture."""
        encoded, decoded, attended = shared
        merged = self.concat12(torch.cat([self.get_submodule("shallow_feat2")(halves), attended], dim=1))
        levels = [_join(level, 2) for level in self.stage2_encoder(merged, encoded, decoded)]
        whole = self.stage2_decoder(levels)
        attended, picture = self.sam23(whole[0], frames)
        return (attended, levels, whole), picture

    def _third_stage(self, frames: Tensor, shared: tuple[Tensor, list[Tensor], list[Tensor]]) -> Tensor:
        """Work at full resolution, with the second stage's features."""
        return self._merge_and_restore(frames, shared)[1]

    def _merge_and_restore(
        self, frames: Tensor, shared: tuple[Tensor, list[Tensor], list[Tensor]]
    ) -> tuple[Tensor, Tensor]:
        attended, encoded, decoded = shared
        merged = self.concat23(torch.cat([self.get_submodule("shallow_feat3")(frames), attended], dim=1))
        return merged, self.stage3_orsnet(merged, encoded, decoded)

    def pool_scales(self) -> dict[str, tuple[Fraction, Fraction]]:
        """Size of the map of each global pool over the input's: stages work on quarters and halves."""
        pools = (path for path, module in self.named_modules() if isinstance(module, nn.AdaptiveAvgPool2d))
        return {path: _pool_scale(path) for path in pools}

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read the widths off the authors' keys."""
        if any(key.startswith("SRNet_") for key in state):
            return None
        return stage_options(state)


def _pool_scale(path: str) -> tuple[Fraction, Fraction]:
    """Scale of the map a channel attention sees, height first, read off its place in the network."""
    part = path.partition(".")[0]
    parts = {"shallow_feat1": (2, 2), "stage1_encoder": (2, 2), "stage1_decoder": (2, 1)}
    parts |= {"shallow_feat2": (2, 1), "stage2_encoder": (2, 1)}
    tall, wide = parts.get(part, (1, 1))
    level = re.search(r"(?:level|skip_attn)(\d)", path)
    coarser = 2 ** (int(level[1]) - 1) if level else 1
    return Fraction(1, tall * coarser), Fraction(1, wide * coarser)


def stage_options(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """Read the widths of the three stages; None where they are not all there."""
    wanted = ("shallow_feat1.0.weight", "stage1_encoder.down12.down.1.weight", "concat23.weight")
    if any(key not in state for key in wanted):
        return None
    width, coarser, wide = (state[key].shape[0] for key in wanted)
    blocks = sum(1 for key in state if key.startswith("stage3_orsnet.orb1.body.") and key.endswith(".body.0.weight"))
    options = {
        "n_feat": width,
        "scale_unetfeats": coarser - width,
        "scale_orsnetfeats": wide - width,
        "num_cab": blocks,
    }
    usual = {"n_feat": 96, "scale_unetfeats": 48, "scale_orsnetfeats": 32, "num_cab": 8}
    return {key: value for key, value in options.items() if value != usual[key]}


def _split(x: Tensor, axis: int) -> Tensor:
    """Cut ``x`` in halves along ``axis`` and put them one after the other in the batch."""
    half = x.shape[axis] // 2
    return torch.cat([x.narrow(axis, 0, half), x.narrow(axis, half, half)], dim=0)


def _join(x: Tensor, axis: int) -> Tensor:
    """Undo ``_split``."""
    half = x.shape[0] // 2
    return torch.cat([x.narrow(0, 0, half), x.narrow(0, half, half)], dim=axis)
