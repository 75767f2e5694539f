"""Folded EDPN computes what the unfolded one does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deblurrt.core.errors import UsageError
from deblurrt.models.checkpoints import official_state_dict
from deblurrt.models.edpn import Edpn, EdpnDeblock, EdpnSr
from deblurrt.models.edpn_folding import FoldedEdpn, fold_edpn
from deblurrt.models.reparameterise import drop_unused, parameter_count
from deblurrt.models.seeding import seed_weights

HEADS: list[type[Edpn]] = [EdpnSr, EdpnDeblock]
SMALL: dict[str, Any] = {"n_blocks": 2, "channels": 16, "groups": 1}

#: sums over the copies in another order, through some forty layers
FLOAT32_TOLERANCE, FLOAT64_TOLERANCE = 1e-5, 1e-12


def made(network: type[Edpn], **options: Any) -> Edpn:
    """A network whose offsets move and whose biases are not zero."""
    small = network(**SMALL, **options)
    seed_weights(small, 0)
    return small.eval()


def picture(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, FLOAT32_TOLERANCE), (torch.float64, FLOAT64_TOLERANCE)]
)
@pytest.mark.parametrize("n_frames", [1, 5, 7])
@pytest.mark.parametrize("head", HEADS)
def test_folded_network_restores_the_same(
    head: type[Edpn], n_frames: int, dtype: torch.dtype, tolerance: float
) -> None:
    network, frames = made(head, n_frames=n_frames).to(dtype), picture(dtype)
    with torch.no_grad():
        restored, expected = fold_edpn(network)(frames), network(frames)
    torch.testing.assert_close(restored, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("options", [{"share_levels": True}, {"use_extractor": True}, {"reduction": 4}])
def test_options_survive_folding(options: dict[str, Any]) -> None:
    network, frames = made(EdpnDeblock, **options).double(), picture(torch.float64)
    with torch.no_grad():
        restored, expected = fold_edpn(network)(frames), network(frames)
    torch.testing.assert_close(restored, expected, rtol=0, atol=FLOAT64_TOLERANCE)


def test_network_that_is_folded_stays_as_it_was() -> None:
    network = made(EdpnSr)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    folded = fold_edpn(network)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.zero_()
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_only_a_dead_extractor_is_dropped() -> None:
    dead, used = (fold_edpn(EdpnSr(**SMALL, use_extractor=use)).state_dict() for use in (False, True))
    assert used.keys() > dead.keys()
    assert {key.split(".")[1][:-1] for key in used.keys() - dead.keys()} == {"feature_extractor"}


def test_network_without_its_extractor_is_folded_as_well() -> None:
    network = made(EdpnDeblock)
    slim = drop_unused(network)
    assert isinstance(slim, Edpn)
    with torch.no_grad():
        assert torch.equal(fold_edpn(slim)(picture()), fold_edpn(network)(picture()))


@pytest.mark.parametrize(
    ("head", "without_extractor", "folded"), [(EdpnSr, 14_944_633, 14_911_845), (EdpnDeblock, 14_878_073, 14_845_285)]
)
def test_weights_are_as_many_as_known(head: type[Edpn], without_extractor: int, folded: int) -> None:
    with torch.device("meta"):
        network = head()
        assert parameter_count(drop_unused(network)) == without_extractor
        # two 1x1 convolutions of 5 * 64 channels become ones of 64; 5 * 5 mixing weights become 5
        assert folded == without_extractor - 2 * 4 * 64 * 64 - 20
        assert parameter_count(fold_edpn(network)) == folded


@pytest.mark.parametrize("head", HEADS)
def test_folded_network_is_a_network_of_the_zoo_without_a_layout(head: type[Edpn]) -> None:
    network = made(head)
    network.architecture, network.options = "edpn", {"n_blocks": 2}
    folded = fold_edpn(network)
    assert isinstance(folded, FoldedEdpn)
    assert (folded.contract, folded.weights) == (network.contract, "random:0")
    assert (folded.architecture, folded.options, folded.training) == ("edpn", {"n_blocks": 2}, False)
    assert head.options_of(folded.state_dict()) is None
    with pytest.raises(UsageError, match="this edpn was changed and has no official layout"):
        official_state_dict(folded)


def test_training_mode_is_kept() -> None:
    assert fold_edpn(EdpnSr(**SMALL).train()).training
