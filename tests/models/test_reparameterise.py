"""Rewritings leave the result as it is, and the network they are given."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import UsageError
from deblurrt.models import create_model
from deblurrt.models.network import DeblurNetwork
from deblurrt.models.reparameterise import drop_unused, fold_batch_norm, fold_fitting_norms, mac_count, parameter_count
from tests.models.small_zoo import SMALL

#: float32 rounding of the folded weights through up to thirty layers; values are about 1
FOLDING = 1e-5
#: networks with batch norm
NORMALISED = ["eacd", "atrous_net"]
#: networks with modules that the authors' code builds and never uses
WITH_UNUSED = ["eacd", "edpn_sr", "edpn_deblock", "edpn_sr_13m"]


class Wrapped(DeblurNetwork):
    """Any layers as a network."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.contract = FrameContract(io="float")
        self.body = nn.Sequential(*layers)

    def forward(self, frames: Tensor) -> Tensor:
        return cast(Tensor, self.body(frames))


class Aside(Wrapped):
    """A batch norm that no ``Sequential`` holds."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 3, 1))
        self.norm = nn.BatchNorm2d(3)

    def forward(self, frames: Tensor) -> Tensor:
        return cast(Tensor, self.norm(self.body(frames)))


def pictures(network: DeblurNetwork, side: int = 16) -> Tensor:
    return torch.rand(2, 3 * network.contract.window, side, side, generator=torch.Generator().manual_seed(0))


def worked(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """Give a batch norm statistics, factors of both signs and shifts, as after training."""
    generator = torch.Generator().manual_seed(1)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(torch.randn(norm.num_features, generator=generator))
    norm.running_var.copy_(torch.rand(norm.num_features, generator=generator) + 0.1)
    if norm.affine:
        nn.init.uniform_(norm.weight, -2, 2, generator=generator)
        nn.init.normal_(norm.bias, generator=generator)
    return norm


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def same_state(one: DeblurNetwork, state: dict[str, Tensor]) -> bool:
    own = one.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key]) for key in state)


@pytest.mark.parametrize("name", NORMALISED)
def test_folded_network_gives_the_same_picture_without_batch_norm(name: str) -> None:
    network = create_model(name, **SMALL[name])
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            worked(module)
            # factors around one, so that thirty of them keep the values about 1
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(2))
    folded, frames = fold_batch_norm(network), pictures(network)
    with torch.no_grad():
        expected = network(frames)
        torch.testing.assert_close(folded(frames), expected, rtol=FOLDING, atol=FOLDING)
    assert (norms(folded), folded.training) == (0, False)
    assert norms(network) > 0


@pytest.mark.parametrize("name", NORMALISED)
def test_folding_leaves_the_network_it_is_given(name: str) -> None:
    network = create_model(name, **SMALL[name]).train()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    folded = fold_batch_norm(network)
    for parameter in folded.parameters():
        nn.init.zeros_(parameter)
    assert same_state(network, state)
    assert network.training


def test_folded_network_keeps_what_it_is() -> None:
    network = create_model("eacd", **SMALL["eacd"])
    folded = fold_batch_norm(network)
    assert (folded.architecture, folded.options, folded.weights) == ("eacd", SMALL["eacd"], network.weights)
    assert folded.contract == network.contract


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 6, 3, padding=2, dilation=2),
        nn.Conv2d(3, 6, 3, bias=False),
        nn.Conv2d(3, 6, 3, stride=2, groups=3),
        nn.ConvTranspose2d(3, 6, 3, stride=2),
    ],
)
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_folds_into_every_kind_of_convolution(layer: nn.Module, affine: bool) -> None:
    network = Wrapped(layer, worked(nn.BatchNorm2d(6, affine=affine)), nn.ReLU()).eval()
    frames = pictures(network)
    with torch.no_grad():
        torch.testing.assert_close(fold_batch_norm(network)(frames), network(frames), rtol=FOLDING, atol=FOLDING)


def test_convolution_used_with_and_without_a_batch_norm_folds_only_there() -> None:
    shared = nn.Conv2d(3, 3, 3, padding=1)
    network = Wrapped(shared, worked(nn.BatchNorm2d(3)), nn.ReLU(), shared).eval()
    frames = pictures(network)
    with torch.no_grad():
        torch.testing.assert_close(fold_batch_norm(network)(frames), network(frames), rtol=FOLDING, atol=FOLDING)


def test_blocks_used_twice_stay_one_block() -> None:
    block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), worked(nn.BatchNorm2d(3)))
    folded = fold_batch_norm(Wrapped(block, nn.ReLU(), block).eval())
    assert folded.get_submodule("body.0") is folded.get_submodule("body.2")
    assert parameter_count(folded) == 3 * 3 * 9 + 3


def test_batch_norm_behind_an_activation_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the batch norm body\.2 follows no convolution in a Sequential"):
        fold_batch_norm(Wrapped(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)))


def test_batch_norm_behind_a_shared_activation_is_refused() -> None:
    """Listed by name the second activation would be missing, and the norm next to the convolution."""
    act = nn.ReLU()
    with pytest.raises(UsageError, match=r"body\.3 follows no convolution"):
        fold_batch_norm(Wrapped(act, nn.Conv2d(3, 3, 1), act, nn.BatchNorm2d(3)))


def test_batch_norm_that_cannot_be_folded_stays_and_keeps_no_other_from_it() -> None:
    """Not foldable: behind an activation, behind a hooked layer, behind a parametrised one."""
    hooked, normed = nn.Conv2d(3, 3, 1), nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1))
    hooked.register_forward_hook(lambda _layer, _inputs, output: output * 2)
    layers: list[nn.Module] = [nn.Conv2d(3, 3, 1), nn.ReLU(), hooked, normed]
    layers = [made for layer in layers for made in (layer, worked(nn.BatchNorm2d(3)))]
    network = Wrapped(*layers).eval()
    folded = fold_fitting_norms(network)
    torch.testing.assert_close(folded(pictures(network)), network(pictures(network)))
    assert norms(folded) == 3


def test_batch_norm_outside_of_a_sequence_is_refused() -> None:
    with pytest.raises(UsageError, match="the batch norm norm follows no convolution in a Sequential"):
        fold_batch_norm(Aside())


def test_batch_norm_without_statistics_is_refused() -> None:
    with pytest.raises(UsageError, match=r"the batch norm body\.1 keeps no statistics; it cannot be folded"):
        fold_batch_norm(Wrapped(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)))


@pytest.mark.parametrize("name", WITH_UNUSED)
def test_network_without_its_unused_modules_gives_the_same_bits(name: str) -> None:
    network = create_model(name, **SMALL[name])
    slim, frames = drop_unused(network), pictures(network)
    assert parameter_count(slim) < parameter_count(network)
    assert not any(hasattr(slim, unused) for unused in network.unused)
    with torch.no_grad():
        assert torch.equal(slim(frames), network(frames))


def test_dropping_leaves_the_network_it_is_given() -> None:
    network = create_model("eacd", **SMALL["eacd"])
    state = {key: value.clone() for key, value in network.state_dict().items()}
    slim = drop_unused(network)
    for parameter in slim.parameters():
        nn.init.zeros_(parameter)
    assert same_state(network, state)
    assert (slim.unused, len(network.unused)) == ((), 5)


def test_dropping_from_a_network_without_unused_modules_or_twice_changes_nothing() -> None:
    for network in (create_model("carlo_net", channels=4), drop_unused(create_model("eacd", **SMALL["eacd"]))):
        assert same_state(drop_unused(network), network.state_dict())


def test_full_size_eacd_uses_2_million_weights() -> None:
    with torch.device("meta"):
        network = create_model("eacd")
    slim = drop_unused(network)
    assert (parameter_count(network), parameter_count(slim)) == (2_761_226, 2_010_698)
    # each batch norm has a factor and a shift per channel; those behind convolutions without bias leave a bias
    assert parameter_count(fold_batch_norm(slim)) == 2_010_698 - 29 * 2 * 64 + 14 * 64


def test_shared_weights_count_once() -> None:
    shared = nn.Conv2d(3, 3, 1)
    assert parameter_count(Wrapped(shared, nn.ReLU(), shared)) == 12


def test_multiply_accumulates_are_those_of_the_convolutions_and_nothing_is_computed() -> None:
    network = Wrapped(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(8, 3, 2, stride=2))
    state = {key: value.clone() for key, value in network.state_dict().items()}
    assert mac_count(network, (10, 20)) == (3 * 8 * 9 + 8 * 3 * 4) * 10 * 20
    assert same_state(network, state)
