"""MPRNet: three stages on quarters, halves and the whole picture.

Zamir et al., "Multi-Stage Progressive Image Restoration", CVPR 2021. No convolution has a bias, and
one learned slope serves every activation.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ..core.contract import FrameContract
from ..core.errors import UsageError
from .local_pool import global_pools
from .mprnet_stages import (
    ATTENTION_REDUCTION,
    ChannelBlock,
    Decoder,
    Encoder,
    OriginalResolution,
    SupervisedAttention,
    conv,
)
from .network import DeblurNetwork

#: tensors that tell the network and its widths, all with four axes
KNOWN_BY = (
    "shallow_feat1.0.weight",
    "stage1_encoder.down12.down.1.weight",
    "concat23.weight",
    "stage3_orsnet.orb1.body.0.body.0.weight",
)
BLOCK_KEY = re.compile(r"stage3_orsnet\.orb1\.body\.\d+\.body\.0\.weight")
#: keys of MPRNet-SR alone
SR_PREFIX = "SRNet_"

#: into how many parts the picture is cut, along height and width, for each part of the network that sees parts
PARTS = {
    "shallow_feat1": (2, 2),
    "stage1_encoder": (2, 2),
    "stage1_decoder": (2, 1),
    "shallow_feat2": (2, 1),
    "stage2_encoder": (2, 1),
}


class StageFeatures(NamedTuple):
    """What a stage hands on: features gated by its picture, and each level of its encoder and decoder, finest first."""

    attended: Tensor
    encoded: list[Tensor]
    decoded: list[Tensor]


class MprNet(DeblurNetwork):
    """MPRNet; every stage corrects the input. ``forward_all`` returns stages 3, 2 and 1.

    Args:
        n_feat: Channels of the finest level of the first two stages.
        scale_unetfeats: Channels each coarser level has more.
        scale_orsnetfeats: Channels the third stage has more.
        num_cab: Channel attention blocks per block of the third stage.

    Raises:
        UsageError: An option is impossible.
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
        if min(*widths, wide) < ATTENTION_REDUCTION or num_cab < 1:
            raise UsageError(
                f"channels {widths} and {wide}, num_cab={num_cab}; expected at least {ATTENTION_REDUCTION} and 1"
            )
        self.shallow_feat1, self.shallow_feat2, self.shallow_feat3 = (
            nn.Sequential(conv(3, n_feat), ChannelBlock(n_feat, slope)) for _ in range(3)
        )
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
        """Run all three stages: features before the tail, and the pictures of stages 2 and 1.

        Parts of the picture lie in the batch: weights are shared, and the pools see each part alone.
        """
        halves = _split(frames, 2)
        first, first_picture = self._first_stage(halves)
        second, second_picture = self._second_stage(frames, halves, first)
        merged = self.concat23(torch.cat([self.shallow_feat3(frames), second.attended], dim=1))
        return self._third_stage(merged, second), second_picture, _join(first_picture, 2)

    def _first_stage(self, halves: Tensor) -> tuple[StageFeatures, Tensor]:
        """Encode quarters and decode halves; the picture comes in halves too."""
        quarters = _split(halves, 3)
        encoded = [_join(level, 3) for level in self.stage1_encoder(self.shallow_feat1(quarters))]
        decoded = self.stage1_decoder(encoded)
        attended, picture = self.sam12(decoded[0], halves)
        return StageFeatures(attended, encoded, decoded), picture

    def _second_stage(self, frames: Tensor, halves: Tensor, first: StageFeatures) -> tuple[StageFeatures, Tensor]:
        """Encode halves and decode the whole."""
        merged = self.concat12(torch.cat([self.shallow_feat2(halves), first.attended], dim=1))
        encoded = [_join(level, 2) for level in self.stage2_encoder(merged, first.encoded, first.decoded)]
        decoded = self.stage2_decoder(encoded)
        attended, picture = self.sam23(decoded[0], frames)
        return StageFeatures(attended, encoded, decoded), picture

    def _third_stage(self, merged: Tensor, second: StageFeatures) -> Tensor:
        """Work on the whole at full size."""
        return cast(Tensor, self.stage3_orsnet(merged, second.encoded, second.decoded))

    def pool_scales(self) -> dict[str, tuple[Fraction, Fraction]]:
        """Size of the map of each global pool over the input's: stages work on quarters and halves."""
        return {path: _pool_scale(path) for path in global_pools(self)}

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read the widths off the authors' keys, those that are not the usual ones."""
        if any(key.startswith(SR_PREFIX) for key in state):
            return None
        options = stage_options(state)
        return None if options is None else cls._unusual(options)

    @classmethod
    def _unusual(cls, options: dict[str, int]) -> dict[str, Any]:
        usual = inspect.signature(cls).parameters
        return {name: value for name, value in options.items() if value != usual[name].default}


def stage_options(state: Mapping[str, Tensor]) -> dict[str, int] | None:
    """Read the widths of the three stages off the authors' keys; None where the stages are not there."""
    if any(key not in state or state[key].ndim != 4 for key in KNOWN_BY):
        return None
    width, coarser, wide = (state[key].shape[0] for key in KNOWN_BY[:3])
    return {
        "n_feat": width,
        "scale_unetfeats": coarser - width,
        "scale_orsnetfeats": wide - width,
        "num_cab": sum(1 for key in state if BLOCK_KEY.fullmatch(key)),
    }


def _pool_scale(path: str) -> tuple[Fraction, Fraction]:
    """Scale of the map a channel attention sees, height first, read off its place in the network."""
    tall, wide = PARTS.get(path.partition(".")[0], (1, 1))
    level = re.search(r"(?:level|skip_attn)(\d)", path)
    coarser = 2 ** (int(level[1]) - 1) if level else 1
    return Fraction(1, tall * coarser), Fraction(1, wide * coarser)


def _split(x: Tensor, axis: int) -> Tensor:
    """Cut ``x`` in halves along ``axis`` and put them one after the other in the batch."""
    half = x.shape[axis] // 2
    return torch.cat([x.narrow(axis, 0, half), x.narrow(axis, half, half)], dim=0)


def _join(x: Tensor, axis: int) -> Tensor:
    """Undo ``_split``."""
    half = x.shape[0] // 2
    return torch.cat([x.narrow(0, 0, half), x.narrow(0, half, half)], dim=axis)
