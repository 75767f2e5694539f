"""MPRNet-SR: MPRNet's features, enlarged four times by residual groups with multi-scale attention.

Shoyan, "Single Image Joint Motion Deblurring and Super-Resolution Using the Multi-Scale Channel
Attention Modules".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn

from ..core.contract import FrameContract
from ..core.errors import UsageError
from .attention import MultiScaleResidualBlock
from .mprnet import MprNet, StageFeatures, stage_options
from .mprnet_stages import ChannelBlock, conv

#: channels of the reconstruction, and how many times narrower its attention is
CHANNELS, REDUCTION = 64, 8
SCALE = 4
LEAKY_SLOPE = 0.1

#: the last layer tells the network from MPRNet
OUTPUT_KEY = "SRNet_upscale.2.weight"
BLOCK_KEY = re.compile(r"SRNet_reconstructor(\d+)\.body\.(\d+)\.body\.0\.weight")


class ReconstructionGroup(nn.Module):
    """Several RMS blocks and a convolution, added to the input."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        parts = (MultiScaleResidualBlock(channels, REDUCTION, bias=False) for _ in range(blocks))
        self.body = nn.Sequential(*parts, conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.body(x))


class MprNetSr(MprNet):
    """Deblurring and fourfold super-resolution; draws the picture itself, without a skip from the input.

    ``forward_all`` returns the small pictures of stages 3, 2 and 1, and the large one.

    Args:
        n_feat: As of ``MprNet``.
        scale_unetfeats: As of ``MprNet``.
        scale_orsnetfeats: As of ``MprNet``.
        groups: Residual groups of the reconstruction.
        blocks: RMS blocks per group.
        num_cab: As of ``MprNet``.

    Raises:
        UsageError: An option is impossible.
    """

    output_layers = ("sam12.conv2", "sam23.conv2", "SRNet_upscale.2")

    def __init__(
        self,
        *,
        n_feat: int = 96,
        scale_unetfeats: int = 48,
        scale_orsnetfeats: int = 32,
        groups: int = 17,
        blocks: int = 10,
        num_cab: int = 8,
    ) -> None:
        super().__init__(
            n_feat=n_feat, scale_unetfeats=scale_unetfeats, scale_orsnetfeats=scale_orsnetfeats, num_cab=num_cab
        )
        if min(groups, blocks) < 1:
            raise UsageError(f"groups={groups}, blocks={blocks}; expected at least 1 each")
        self.contract = FrameContract(task="deblur_sr", scale=SCALE, multiple=8, io="float")
        wide, self._groups = n_feat + scale_orsnetfeats, groups
        slope = cast(nn.PReLU, self.get_submodule("shallow_feat1.1.body.1"))
        self.SRNet_sr_cab = ChannelBlock(wide, slope)
        self.SRNet_before_rec = nn.Sequential(conv(wide, CHANNELS), slope)
        for group in range(1, groups + 1):
            self.add_module(f"SRNet_reconstructor{group}", ReconstructionGroup(CHANNELS, blocks))
        self.SRNet_HRconv = conv(CHANNELS, CHANNELS)
        self.SRNet_upscale = nn.Sequential(
            conv(CHANNELS, CHANNELS * SCALE**2, 1), nn.PixelShuffle(SCALE), conv(CHANNELS, 3)
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Restore ``[batch, 3, 4 * height, 4 * width]`` from sides that are multiples of 8."""
        return self._enlarge(self.features(frames)[0])

    def forward_all(self, frames: Tensor) -> Any:
        """Return the pictures of stages 3, 2 and 1, ``[batch, 3, height, width]``, and the large one."""
        features, second, first = self.features(frames)
        return [cast(Tensor, self.tail(features)), second, first], self._enlarge(features)

    def _third_stage(self, merged: Tensor, second: StageFeatures) -> Tensor:
        """Work on the whole at full size; unlike in MPRNet, the merged features are added."""
        return merged + super()._third_stage(merged, second)

    def _enlarge(self, features: Tensor) -> Tensor:
        start = x = self.SRNet_before_rec(self.SRNet_sr_cab(features))
        for group in range(1, self._groups + 1):
            x = self.get_submodule(f"SRNet_reconstructor{group}")(x)
        fine = nn.functional.leaky_relu(self.SRNet_HRconv(x + start), LEAKY_SLOPE)
        return cast(Tensor, self.SRNet_upscale(fine))

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read widths and depths off the authors' keys, those that are not the usual ones."""
        options = stage_options(state)
        places = [found.groups() for found in map(BLOCK_KEY.fullmatch, state) if found]
        if options is None or OUTPUT_KEY not in state or not places:
            return None
        depth = {"groups": len({group for group, _ in places}), "blocks": len({block for _, block in places})}
        return cls._unusual(options | depth)
