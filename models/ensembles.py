"""Test-time options of the papers around a network; for files see ``deblurrt.runtime.ensemble``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from ..core.symmetries import X8, Symmetry
from .network import DeblurNetwork


def _flip(tensor: Tensor, axis: int) -> Tensor:
    return torch.flip(tensor, [axis])


class SymmetryMean(DeblurNetwork):
    """Mean of what a network makes of flipped and rotated copies, each turned back.

    >>> SymmetryMean(create_model("wrcan"), X8)            # doctest: +SKIP

    Args:
        network: Looks at every copy.
        symmetries: ``X8`` (EDSR, WRCAN, Shoyan) or ``X4`` (EDPN) of ``deblurrt.core.symmetries``.
    """

    def __init__(self, network: DeblurNetwork, symmetries: Sequence[Symmetry] = X8) -> None:
        super().__init__()
        self.network, self._symmetries = network, tuple(symmetries)
        self.contract, self.weights = network.contract, network.weights

    def forward(self, frames: Tensor) -> Tensor:
        looks = (one.undo(self.network(one.apply(frames, _flip)), _flip) for one in self._symmetries)
        return cast(Tensor, sum(looks)) / len(self._symmetries)


class NetworkMean(DeblurNetwork):
    """Weighted mean of what several networks restore (EDPN's model ensemble).

    Args:
        networks: At least one, with equal contracts.
        weights: One per network, divided by their sum; equal if None.

    Raises:
        UsageError: Contracts differ, there are not as many weights as networks, or they sum to zero.
    """

    def __init__(self, networks: Sequence[DeblurNetwork], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        shares = list(weights) if weights is not None else [1.0] * len(networks)
        if not networks or len(shares) != len(networks) or sum(shares) == 0:
            raise UsageError(
                f"{len(networks)} networks with the weights {shares}, expected one weight each and a sum other than 0"
            )
        if any(network.contract != networks[0].contract for network in networks):
            raise UsageError("networks of different contracts cannot be averaged; window, scale or size rule differ")
        self.networks = nn.ModuleList(networks)
        self._shares = [share / sum(shares) for share in shares]
        self.contract = networks[0].contract
        self.weights = "+".join(network.weights for network in networks)

    def forward(self, frames: Tensor) -> Tensor:
        parts = (share * network(frames) for share, network in zip(self._shares, self.networks, strict=True))
        return cast(Tensor, sum(parts))
