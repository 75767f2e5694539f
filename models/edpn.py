"""EDPN: blur removed together with JPEG artefacts or with fourfold reduction, from copies of one frame.

Xu et al., "EDPN: Enhanced Deep Pyramid Network for Blurry Image Restoration", CVPR Workshops 2021. Follows
the authors' code where it differs from the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.contract import FrameContract, Task
from .attention import MultiScaleResidualBlock
from .edpn_modules import CopyFusion, TransferPyramid, conv, leaky
from .network import DeblurNetwork

SCALE = 4
#: sequences of the extractor and blocks in each; blocks in each group of the reconstruction
EXTRACTORS, EXTRACTOR_BLOCKS = 3, 6
GROUP_BLOCKS = 10
EXTRACTOR_GAIN = 0.1


class ExtractorBlock(nn.Module):
    """Two convolutions with a ReLU between them, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(channels, channels), conv(channels, channels)
        for layer in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.data.mul_(EXTRACTOR_GAIN)
            nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.conv2(functional.relu(self.conv1(x))))


class Group(nn.Module):
    """Ten RMS blocks in a row."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        blocks = (MultiScaleResidualBlock(channels, reduction, bias=True) for _ in range(GROUP_BLOCKS))
        self.body = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.body(x))


class Edpn(DeblurNetwork):
    """EDPN without its head; corrects the input, or its bicubic enlargement.

    ``forward`` copies the frame ``n_frames`` times; ``forward_all`` takes the copies as well, as
    ``[batch, copies, 3, height, width]``.

    Args:
        n_blocks: Transfer blocks per level of the pyramid.
        n_frames: Copies of the frame.
        reduction: How many times narrower the attention of the reconstruction is.
        share_levels: Whether the three levels share their transfer blocks.
        use_extractor: Whether the 18 residual blocks are used; the authors' code computes them and
            throws the result away.
        channels: Width, a multiple of 8; the authors' is 64.
        groups: Groups of ten blocks of the reconstruction.
    """

    scale = 1
    unused: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        n_blocks: int = 3,
        n_frames: int = 5,
        reduction: int = 8,
        share_levels: bool = False,
        use_extractor: bool = False,
        channels: int = 64,
        groups: int = 12,
    ) -> None:
        super().__init__()
        task: Task = "deblur_sr" if self.scale == SCALE else "deblur_jpeg"
        self.contract = FrameContract(task=task, scale=self.scale, multiple=4, io="float")
        self.n_frames, self.groups, self.use_extractor = n_frames, groups, use_extractor
        self.unused = () if use_extractor else tuple(f"feature_extractor{part}" for part in range(1, EXTRACTORS + 1))
        self.conv_first = conv(3, channels)
        for part in range(1, EXTRACTORS + 1):
            blocks = (ExtractorBlock(channels) for _ in range(EXTRACTOR_BLOCKS))
            self.add_module(f"feature_extractor{part}", nn.Sequential(*blocks))
        for level in (2, 3):
            self.add_module(f"fea_L{level}_conv1", conv(channels, channels, stride=2))
            self.add_module(f"fea_L{level}_conv2", conv(channels, channels))
        self.pspa = TransferPyramid(channels, n_blocks, share_levels=share_levels)
        self.tsa_fusion = CopyFusion(channels, n_frames)
        for group in range(1, groups + 1):
            self.add_module(f"reconstructor{group}", Group(channels, reduction))
        self.HRconv = conv(channels, channels)

    @property
    def center(self) -> int:
        """Index of the reference copy, as in the authors' code."""
        return self.n_frames // 2 // 2

    def forward(self, frames: Tensor) -> Tensor:
        """Restore ``[batch, 3, height, width]``, sides multiples of 4."""
        copies = frames[:, None].expand(-1, self.n_frames, -1, -1, -1)
        return cast(Tensor, self.forward_all(copies))

    def forward_all(self, frames: Tensor) -> Any:
        """Restore ``[batch, 3, height, width]``, or the reference of ``[batch, copies, 3, height, width]``."""
        if frames.ndim == 4:
            return self.forward(frames)
        batch, copies, _, height, width = frames.shape
        levels = self.pyramid(frames.reshape(-1, 3, height, width))
        by_copy = [level.reshape(batch, copies, *level.shape[1:]) for level in levels]
        reference = [level[:, self.center] for level in by_copy]
        aligned = [self.pspa([level[:, copy] for level in by_copy], reference) for copy in range(copies)]
        fused = self.tsa_fusion(torch.stack(aligned, dim=1), self.center)
        return self.draw(fused, frames[:, self.center])

    def pyramid(self, frames: Tensor) -> list[Tensor]:
        """Find features at full, half and quarter size, ``[batch, channels, …]`` each."""
        finest = leaky(self.conv_first(frames))
        if self.use_extractor:
            for part in range(1, EXTRACTORS + 1):
                finest = self.get_submodule(f"feature_extractor{part}")(finest)
        levels = [finest]
        for level in (2, 3):
            halved = leaky(self.get_submodule(f"fea_L{level}_conv1")(levels[-1]))
            levels.append(leaky(self.get_submodule(f"fea_L{level}_conv2")(halved)))
        return levels

    def draw(self, fused: Tensor, frame: Tensor) -> Tensor:
        """Reconstruct the picture from fused features and the frame it corrects."""
        x = fused
        for group in range(1, self.groups + 1):
            x = self.get_submodule(f"reconstructor{group}")(x)
        correction: Tensor = self.get_submodule("upscale")(leaky(self.HRconv(x)))
        if self.scale == 1:
            return correction + frame
        enlarged = functional.interpolate(frame, scale_factor=float(self.scale), mode="bicubic", align_corners=False)
        return correction + enlarged

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read depth and widths off the authors' keys; whether levels share blocks shows in equal values."""
        attention = "reconstructor1.body.0.body.3.local_att.0.weight"
        wanted = ("conv_first.weight", "tsa_fusion.conv3D.weight", attention, "upscale.0.weight")
        if any(key not in state for key in wanted) or ("upscale.2.weight" in state) != (cls.scale == SCALE):
            return None
        channels = state["conv_first.weight"].shape[0]
        blocks = {key.split(".")[3] for key in state if key.startswith("pspa.L1_spa.SPA_blocks.")}
        first = "SPA_blocks.0.conv_base.weight"
        level1, level2 = state.get(f"pspa.L1_spa.{first}"), state.get(f"pspa.L2_spa.{first}")
        if level1 is None or level2 is None:
            return None
        options = {
            "n_blocks": len(blocks),
            "n_frames": state["tsa_fusion.conv3D.weight"].shape[0],
            "reduction": channels // state[attention].shape[0],
            "share_levels": not level1.is_meta and torch.equal(level1, level2),
            "channels": channels,
            "groups": len({key.partition(".")[0] for key in state if key.startswith("reconstructor")}),
        }
        usual = {"n_blocks": 3, "n_frames": 5, "reduction": 8, "share_levels": False, "channels": 64, "groups": 12}
        return {key: value for key, value in options.items() if value != usual[key]}


class EdpnSr(Edpn):
    """EDPN for blur and fourfold reduction (BISR): the result is four times as high and wide."""

    scale = SCALE
    output_layers = ("upscale.2",)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        channels = options.get("channels", 64)
        shuffle = nn.PixelShuffle(SCALE)
        self.upscale = nn.Sequential(conv(channels, channels * SCALE**2, 1), shuffle, conv(channels, 3))


class EdpnDeblock(Edpn):
    """EDPN for blur and JPEG artefacts (BID)."""

    output_layers = ("upscale.0",)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.upscale = nn.Sequential(conv(options.get("channels", 64), 3))


class EdpnSr13m(EdpnSr):
    """EDPN with one transfer block per level and seven copies: the size the paper prints."""

    def __init__(self, *, n_blocks: int = 1, n_frames: int = 7, **options: Any) -> None:
        super().__init__(n_blocks=n_blocks, n_frames=n_frames, **options)
