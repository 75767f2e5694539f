"""Test-time options around networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import UsageError
from deblurrt.core.symmetries import X4, X8, Symmetry
from deblurrt.models.ensembles import NetworkMean, SymmetryMean
from deblurrt.models.network import DeblurNetwork


class Cross(DeblurNetwork):
    """Sum of the four neighbours, in whole numbers: commutes with every flip and rotation."""

    contract = FrameContract(io="float")

    def forward(self, frames: Tensor) -> Tensor:
        grown = torch.nn.functional.pad(frames, (1, 1, 1, 1))
        return grown[..., :-2, 1:-1] + grown[..., 2:, 1:-1] + grown[..., 1:-1, :-2] + grown[..., 1:-1, 2:]


class Constant(DeblurNetwork):
    def __init__(self, value: float, contract: FrameContract | None = None) -> None:
        super().__init__()
        self.value, self.weights = value, str(value)
        self.contract = contract or FrameContract(io="float")

    def forward(self, frames: Tensor) -> Tensor:
        return torch.full_like(frames, self.value)


class Columns(DeblurNetwork):
    """Numbers the columns: no symmetry leaves it alone."""

    contract = FrameContract(io="float")

    def forward(self, frames: Tensor) -> Tensor:
        return frames + torch.arange(frames.shape[-1])


@pytest.mark.parametrize("symmetries", [X4, X8])
def test_mean_over_symmetries_of_an_equivariant_network_is_exact(symmetries: tuple[Symmetry, ...]) -> None:
    frames = torch.randint(0, 256, (2, 3, 6, 10), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(SymmetryMean(Cross(), symmetries)(frames), Cross()(frames))


def test_mean_over_symmetries_turns_every_look_back() -> None:
    restored = SymmetryMean(Columns())(torch.zeros(1, 3, 4, 6))
    assert torch.equal(restored, torch.full((1, 3, 4, 6), (5 / 2 + 3 / 2) / 2))


def test_mean_of_networks_follows_the_weights() -> None:
    networks = [Constant(0.25), Constant(0.75)]
    frames = torch.zeros(1, 3, 2, 2)
    assert float(NetworkMean(networks)(frames).mean()) == 0.5
    assert float(NetworkMean(networks, [3, 1])(frames).mean()) == 0.375
    assert NetworkMean(networks).weights == "0.25+0.75"


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, 1.0, 1.0]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(UsageError, match="2 networks with the weights"):
        NetworkMean([Constant(0), Constant(1)], weights)


def test_networks_of_different_contracts_are_refused() -> None:
    with pytest.raises(UsageError, match="different contracts"):
        NetworkMean([Constant(0), Constant(1, FrameContract(io="float", multiple=8))])
