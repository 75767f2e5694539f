"""The parts of EDPN: progressive transfer between copies of a picture, and their fusion by attention."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import MultiScaleResidualBlock
from .deform_conv import ModulatedDeformConv2d

DEFORMABLE_GROUPS = 8
#: RMS blocks per group of the reconstruction
GROUP_BLOCKS = 10
LEAKY_SLOPE = 0.1
#: of the extractor's initial weights (Wang et al., EDVR, CVPR Workshops 2019)
EXTRACTOR_GAIN = 0.1


def conv(given: int, made: int, side: int = 3, *, stride: int = 1) -> nn.Conv2d:
    """Make a convolution that keeps the size, or halves it at stride 2."""
    return nn.Conv2d(given, made, side, stride, padding=side // 2)


def leaky(x: Tensor) -> Tensor:
    """Apply the activation used throughout EDPN."""
    return functional.leaky_relu(x, LEAKY_SLOPE)


def double(x: Tensor) -> Tensor:
    """Enlarge a map to twice its height and width."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _pools(x: Tensor) -> Tensor:
    """Halve a map in two ways, side by side; the mean counts the zeros around the map."""
    return torch.cat([functional.max_pool2d(x, 3, 2, 1), functional.avg_pool2d(x, 3, 2, 1)], dim=1)


class ExtractorBlock(nn.Module):
    """Two 3x3 convolutions with a ReLU between them, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(channels, channels), conv(channels, channels)
        for layer in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(cast(Tensor, layer.bias))
            with torch.no_grad():
                layer.weight.mul_(EXTRACTOR_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.conv2(functional.relu(self.conv1(x))))


class TransferBlock(nn.Module):
    """PTB: carry what another copy knows over to the base, where offsets and a mask say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_base, self.conv_ref = conv(channels, channels), conv(channels, channels)
        self.offset_conv1, self.offset_conv2 = conv(channels * 2, channels), conv(channels, channels)
        self.dcnpack = ModulatedDeformConv2d(channels, channels, deformable_groups=DEFORMABLE_GROUPS)
        self.dcn_conv = conv(channels, channels)
        self.out_conv1, self.out_conv2 = conv(channels * 2, channels), conv(channels, channels)

    def forward(self, base: Tensor, other: Tensor) -> Tensor:
        own, foreign = self.conv_base(base), self.conv_ref(other)
        guide = leaky(self.offset_conv2(leaky(self.offset_conv1(torch.cat([own, foreign], dim=1)))))
        aligned = leaky(self.dcn_conv(leaky(self.dcnpack(foreign, guide))))
        aligned = _softmax_over_width(foreign - own) * aligned
        return base + leaky(self.out_conv2(leaky(self.out_conv1(torch.cat([own, aligned], dim=1)))))


def _softmax_over_width(x: Tensor) -> Tensor:
    """Share out 1 over each row; in fp32, because the shares shrink as the picture widens."""
    return torch.softmax(x, dim=-1, dtype=torch.promote_types(x.dtype, torch.float32)).to(x.dtype)


class TransferStack(nn.Module):
    """Transfer blocks one after the other, merged with the base, for one level of the pyramid."""

    def __init__(self, channels: int, blocks: Iterable[TransferBlock]) -> None:
        super().__init__()
        self.SPA_blocks = nn.ModuleList(blocks)
        self.out_conv1, self.out_conv2 = conv(channels * 2, channels), conv(channels, channels)

    def forward(self, base: Tensor, other: Tensor) -> Tensor:
        for block in self.SPA_blocks:
            other = block(base, other)
        return base + leaky(self.out_conv2(leaky(self.out_conv1(torch.cat([base, other], dim=1)))))


class TransferPyramid(nn.Module):
    """PPT: transfer at three levels, coarse to fine.

    Args:
        channels: Of every map.
        n_blocks: Transfer blocks per level.
        share_levels: Whether the three levels use the same transfer blocks; what merges them stays their own.
    """

    def __init__(self, channels: int, n_blocks: int, *, share_levels: bool) -> None:
        super().__init__()
        shared = [TransferBlock(channels) for _ in range(n_blocks)] if share_levels else []
        for level in (1, 2, 3):
            blocks = shared or [TransferBlock(channels) for _ in range(n_blocks)]
            self.add_module(f"L{level}_spa", TransferStack(channels, blocks))
            self.add_module(f"L{level}_conv", conv(channels, channels))
        for name in ("L2_conv_up", "L1_conv_up", "out_conv"):
            self.add_module(f"{name}1", conv(channels * 2, channels))
            self.add_module(f"{name}2", conv(channels, channels))

    def forward(self, base: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
        """Align one copy, both given as maps of full, half and quarter size."""
        raised = self._transferred(3, base, other)
        for level in (2, 1):
            raised = self._merged(f"L{level}_conv_up", self._transferred(level, base, other), double(raised))
        return self._merged("out_conv", base[0], raised)

    def _transferred(self, level: int, base: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
        stack, layer = self.get_submodule(f"L{level}_spa"), self.get_submodule(f"L{level}_conv")
        return leaky(layer(stack(base[level - 1], other[level - 1])))

    def _merged(self, name: str, fine: Tensor, coarse: Tensor) -> Tensor:
        first, second = self.get_submodule(f"{name}1"), self.get_submodule(f"{name}2")
        return leaky(second(leaky(first(torch.cat([fine, coarse], dim=1)))))


class CopyFusion(nn.Module):
    """PSA: weigh aligned maps by their likeness to the reference, merge them, and gate the result in space.

    The temporal and spatial attention of EDVR, with a 3-D convolution added that mixes whole maps.

    Args:
        channels: Of every map.
        copies: Number of maps.
    """

    def __init__(self, channels: int, copies: int) -> None:
        super().__init__()
        self.temporal_attn1, self.temporal_attn2 = conv(channels, channels), conv(channels, channels)
        self.feat_fusion = conv(channels * copies, channels, 1)
        self.conv3D: nn.Module = nn.Conv3d(copies, copies, 1)
        self.conv3D_fusion = conv(channels * copies, channels, 1)
        self.spatial_attn1 = conv(channels * copies, channels, 1)
        self.spatial_attn2 = conv(channels * 2, channels, 1)
        self.spatial_attn3 = conv(channels, channels)
        self.spatial_attn4 = conv(channels, channels, 1)
        self.spatial_attn5 = conv(channels, channels)
        self.spatial_attn_l1 = conv(channels, channels, 1)
        self.spatial_attn_l2 = conv(channels * 2, channels)
        self.spatial_attn_l3 = conv(channels, channels)
        self.spatial_attn_add1 = conv(channels, channels, 1)
        self.spatial_attn_add2 = conv(channels, channels, 1)

    def forward(self, aligned: Sequence[Tensor], reference: int) -> Tensor:
        """Fuse maps ``[batch, channels, height, width]`` into one; ``reference`` is an index."""
        wanted = self.temporal_attn1(aligned[reference])
        weighed = [x * self._likeness(x, wanted) for x in aligned]
        joined = torch.cat(weighed, dim=1)
        mixed = leaky(self.conv3D(torch.stack(weighed, dim=1))).flatten(1, 2)
        fused = leaky(self.feat_fusion(joined)) + leaky(self.conv3D_fusion(mixed))
        gate = self._gate(joined)
        summand = cast(Tensor, self.spatial_attn_add2(leaky(self.spatial_attn_add1(gate))))
        # twice, so that an undecided gate of one half changes nothing
        return fused * torch.sigmoid(gate) * 2 + summand

    def _likeness(self, x: Tensor, wanted: Tensor) -> Tensor:
        return torch.sigmoid(torch.sum(self.temporal_attn2(x) * wanted, dim=1, keepdim=True))

    def _gate(self, joined: Tensor) -> Tensor:
        half = leaky(self.spatial_attn2(_pools(leaky(self.spatial_attn1(joined)))))
        quarter = leaky(self.spatial_attn_l2(_pools(leaky(self.spatial_attn_l1(half)))))
        half = leaky(self.spatial_attn3(half)) + double(leaky(self.spatial_attn_l3(quarter)))
        return cast(Tensor, self.spatial_attn5(double(leaky(self.spatial_attn4(half)))))


class ReconstructionGroup(nn.Module):
    """Ten RMS blocks one after the other."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        blocks = (MultiScaleResidualBlock(channels, reduction, bias=True) for _ in range(GROUP_BLOCKS))
        self.body = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.body(x))
