"""EDPN: blur removed together with JPEG artefacts or with fourfold reduction, from copies of one frame.

Xu, Xiao, Huang, Zhang and Xiong, "EDPN: Enhanced Deep Pyramid Network for Blurry Image Restoration",
CVPR Workshops 2021. Follows the authors' code where it differs from the paper.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.contract import FrameContract, Task
from ..core.errors import UsageError
from .edpn_modules import CopyFusion, ExtractorBlock, ReconstructionGroup, TransferPyramid, conv, leaky
from .network import DeblurNetwork

SCALE = 4
EXTRACTORS = ("feature_extractor1", "feature_extractor2", "feature_extractor3")
EXTRACTOR_BLOCKS = 6
#: keys by which a state dict is known, and how many axes each has
KNOWN_BY = {
    "conv_first.weight": 4,
    "feature_extractor1.0.conv1.weight": 4,
    "pspa.L1_spa.SPA_blocks.0.dcnpack.conv_offset_mask.weight": 4,
    "tsa_fusion.conv3D.weight": 5,
    "reconstructor1.body.0.body.3.local_att.0.weight": 4,
    "upscale.0.weight": 4,
}


class Edpn(DeblurNetwork):
    """What both variants of EDPN have in common; make an ``EdpnSr`` or an ``EdpnDeblock``.

    Adds a correction to its input or, for super-resolution, to the input's bicubic enlargement. The
    authors' network aligns copies of one frame with each other, as EDVR does with frames of a video.
    ``forward`` makes the copies; ``forward_all`` takes them as well, as
    ``[batch, copies, 3, height, width]``, and they may differ. A softmax over each row makes the
    result depend on the picture's width.

    Args:
        n_blocks: Transfer blocks (PTB) per level of the pyramid; the training scripts have 2 and 3.
        n_frames: Copies of the frame.
        reduction: How many times narrower the attention of the reconstruction is inside.
        share_levels: Whether the three levels use the same transfer blocks. With ``n_blocks=3,
            n_frames=7`` that gives the 13.34 million weights the paper prints, as does
            ``n_blocks=1, n_frames=7`` without.
        use_extractor: Whether the 18 residual blocks are used, as in the paper; the authors' code
            computes them and throws the result away, so by default they are in the checkpoint only.
        channels: Width, a multiple of 8; the authors' is 64.
        groups: Groups of ten blocks of the reconstruction.

    Raises:
        UsageError: An option is impossible.
    """

    task: ClassVar[Task]
    scale: ClassVar[int]
    #: in the authors' checkpoint, never called
    unused: tuple[str, ...] = EXTRACTORS

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
        if min(n_blocks, n_frames, groups) < 1 or not 1 <= reduction <= channels:
            raise UsageError(
                f"n_blocks={n_blocks}, n_frames={n_frames}, groups={groups}, reduction={reduction} of {channels} "
                "channels; expected at least 1 of each and a reduction up to the channels"
            )
        self.contract = FrameContract(task=self.task, scale=self.scale, multiple=4, io="float")
        self.n_frames, self.groups, self.use_extractor = n_frames, groups, use_extractor
        if use_extractor:
            self.unused = ()
        self.conv_first = conv(3, channels)
        for name in EXTRACTORS:
            self.add_module(name, nn.Sequential(*(ExtractorBlock(channels) for _ in range(EXTRACTOR_BLOCKS))))
        for level in (2, 3):
            self.add_module(f"fea_L{level}_conv1", conv(channels, channels, stride=2))
            self.add_module(f"fea_L{level}_conv2", conv(channels, channels))
        self.pspa = TransferPyramid(channels, n_blocks, share_levels=share_levels)
        self.tsa_fusion = CopyFusion(channels, n_frames)
        for group in range(1, groups + 1):
            self.add_module(f"reconstructor{group}", ReconstructionGroup(channels, reduction))
        self.HRconv = conv(channels, channels)
        enlarging = [conv(channels, channels * SCALE**2, 1), nn.PixelShuffle(SCALE)] if self.scale == SCALE else []
        self.upscale = nn.Sequential(*enlarging, conv(channels, 3))

    def forward(self, frames: Tensor) -> Tensor:
        """Restore ``[batch, 3, height, width]``, sides multiples of 4."""
        return self._restored(frames[:, None].expand(-1, self.n_frames, -1, -1, -1))

    def forward_all(self, frames: Tensor) -> Tensor:
        """Restore ``[batch, 3, height, width]``, or the reference of ``[batch, copies, 3, height, width]``."""
        return self.forward(frames) if frames.ndim == 4 else self._restored(frames)

    def _restored(self, copies: Tensor) -> Tensor:
        frames = copies.unbind(1)
        reference = len(frames) // 4
        pyramids = [self._pyramid(frame) for frame in frames]
        aligned = [self.pspa(pyramid, pyramids[reference]) for pyramid in pyramids]
        return self._drawn(self.tsa_fusion(aligned, reference), frames[reference])

    def _pyramid(self, frame: Tensor) -> list[Tensor]:
        """Find features at full, half and quarter size."""
        features = leaky(self.conv_first(frame))
        if self.use_extractor:
            for name in EXTRACTORS:
                features = self.get_submodule(name)(features)
        levels = [features]
        for level in (2, 3):
            features = leaky(self.get_submodule(f"fea_L{level}_conv1")(features))
            features = leaky(self.get_submodule(f"fea_L{level}_conv2")(features))
            levels.append(features)
        return levels

    def _drawn(self, features: Tensor, frame: Tensor) -> Tensor:
        """Turn fused features into the correction of a frame, and add it."""
        for group in range(1, self.groups + 1):
            features = self.get_submodule(f"reconstructor{group}")(features)
        correction = cast(Tensor, self.upscale(leaky(self.HRconv(features))))
        if self.scale == SCALE:
            frame = functional.interpolate(frame, scale_factor=SCALE, mode="bicubic", align_corners=False)
        return correction + frame

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read the options off the authors' keys, those that are not the usual ones.

        Levels share their blocks if the values are equal; ``use_extractor`` leaves no trace.
        """
        if any(key not in state or state[key].ndim != axes for key, axes in KNOWN_BY.items()):
            return None
        if ("upscale.2.weight" in state) != (cls.scale == SCALE):
            return None
        channels, _, _, _ = state["conv_first.weight"].shape
        narrow = state["reconstructor1.body.0.body.3.local_att.0.weight"].shape[0]
        options = {
            "n_blocks": len({key.split(".")[3] for key in state if key.startswith("pspa.L1_spa.SPA_blocks.")}),
            "n_frames": state["tsa_fusion.conv3D.weight"].shape[0],
            "reduction": channels // max(narrow, 1),
            "share_levels": _levels_are_equal(state),
            "channels": channels,
            "groups": len({key.partition(".")[0] for key in state if key.startswith("reconstructor")}),
        }
        usual = inspect.signature(cls).parameters
        return {name: value for name, value in options.items() if value != usual[name].default}


def _levels_are_equal(state: Mapping[str, Tensor]) -> bool:
    """Whether the transfer blocks of the three levels have the same values."""

    def is_equal(one: Tensor, other: Tensor | None) -> bool:
        comparable = other is not None and not one.is_meta and not other.is_meta and one.dtype == other.dtype
        return comparable and torch.equal(one, cast(Tensor, other))

    first = {key: tensor for key, tensor in state.items() if key.startswith("pspa.L1_spa.SPA_blocks.")}
    return all(
        is_equal(tensor, state.get(key.replace("L1", f"L{level}", 1)))
        for key, tensor in first.items()
        for level in (2, 3)
    )


class EdpnSr(Edpn):
    """EDPN for blur and fourfold reduction (BISR): the result is four times as high and wide."""

    task = "deblur_sr"
    scale = SCALE
    output_layers = ("upscale.2",)


class EdpnDeblock(Edpn):
    """EDPN for blur and JPEG artefacts (BID)."""

    task = "deblur_jpeg"
    scale = 1
    output_layers = ("upscale.0",)


class EdpnSr13m(EdpnSr):
    """``EdpnSr`` with one transfer block per level and seven copies: of the size the paper prints."""

    def __init__(
        self,
        *,
        n_blocks: int = 1,
        n_frames: int = 7,
        reduction: int = 8,
        share_levels: bool = False,
        use_extractor: bool = False,
        channels: int = 64,
        groups: int = 12,
    ) -> None:
        super().__init__(
            n_blocks=n_blocks,
            n_frames=n_frames,
            reduction=reduction,
            share_levels=share_levels,
            use_extractor=use_extractor,
            channels=channels,
            groups=groups,
        )
