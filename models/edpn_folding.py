"""EDPN for deployment: all copies of the frame are equal, so one suffices (exact)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from .edpn import Edpn
from .edpn_modules import CopyFusion, SpatialAttention, conv, leaky
from .network import DeblurNetwork


class FoldedFusion(SpatialAttention):
    """``CopyFusion`` of equal copies: weights over the copies summed once.

    Args:
        fusion: With its weights; they are copied.
    """

    def __init__(self, fusion: CopyFusion) -> None:
        copies = fusion.conv3D.weight.shape[0]
        channels = fusion.temporal_attn1.weight.shape[0]
        super().__init__(channels, n_frames=1)
        self.temporal_attn1, self.temporal_attn2 = fusion.temporal_attn1, fusion.temporal_attn2
        self.feat_fusion = _summed(fusion.feat_fusion, copies)
        self.conv3D_fusion = fusion.conv3D_fusion
        for name, layer in fusion.named_children():
            if name.startswith("spatial_attn"):
                self.add_module(name, layer)
        self.spatial_attn1 = _summed(fusion.spatial_attn1, copies)
        weights = fusion.conv3D.weight.detach()[:, :, 0, 0, 0].sum(dim=1)
        self.copy_gain = nn.Parameter(weights.reshape(1, copies, 1, 1, 1).clone())
        self.copy_bias = nn.Parameter(cast(Tensor, fusion.conv3D.bias).detach().reshape(1, copies, 1, 1, 1).clone())

    def forward(self, aligned: Tensor) -> Tensor:
        """Fuse ``[batch, channels, height, width]``, which stands for every copy."""
        alike = (self.temporal_attn2(aligned) * self.temporal_attn1(aligned)).sum(dim=1, keepdim=True)
        gated = aligned * torch.sigmoid(alike)
        deep = leaky(gated[:, None] * self.copy_gain + self.copy_bias)
        fused = leaky(self.feat_fusion(gated)) + leaky(self.conv3D_fusion(deep.flatten(1, 2)))
        factor, summand = self.mask(self.spatial_attn1(gated))
        return fused * factor * 2 + summand


def _summed(layer: nn.Conv2d, copies: int) -> nn.Conv2d:
    """One convolution for all copies of its input."""
    made, given = layer.weight.shape[:2]
    folded = conv(given // copies, made, 1)
    with torch.no_grad():
        folded.weight.copy_(layer.weight.reshape(made, copies, -1, 1, 1).sum(dim=1))
        cast(Tensor, folded.bias).copy_(cast(Tensor, layer.bias))
    return folded.to(layer.weight)


class FoldedEdpn(DeblurNetwork):
    """EDPN that looks at the frame once; computes what the unfolded network does at 42 % of its cost.

    Args:
        network: With its weights; left as it is.
    """

    def __init__(self, network: Edpn) -> None:
        super().__init__()
        own = copy.deepcopy(network)
        for name in own.unused:
            delattr(own, name)
        fusion = own.tsa_fusion
        del own.tsa_fusion
        self.network, self.fusion = own, FoldedFusion(fusion)
        self.contract, self.weights = network.contract, network.weights
        self.architecture, self.tlsc = network.architecture, network.tlsc
        self.train(network.training)

    def forward(self, frames: Tensor) -> Tensor:
        """Restore ``[batch, 3, height, width]``, sides multiples of 4."""
        levels = self.network.pyramid(frames)
        fused = self.fusion(self.network.pspa(levels, levels))
        return self.network.draw(fused, frames)

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:  # noqa: ARG003 - the base's signature
        """Return None: the authors have no such layout."""
        return None


def fold_edpn(network: Edpn) -> FoldedEdpn:
    """Rewrite EDPN for one copy of the frame and drop its unused extractor (exact up to rounding).

    Per-copy features are computed once; 1x1 convolutions over the copies are summed; the
    three-dimensional convolution becomes a gain and a bias per copy.

    Args:
        network: With its weights; left as it is.
    """
    return FoldedEdpn(network)
