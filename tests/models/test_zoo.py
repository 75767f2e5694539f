"""The table of networks."""

from __future__ import annotations

import pytest
import torch

from deblurrt.core.errors import UsageError
from deblurrt.models import ZOO, create_model
from deblurrt.models.network import DeblurNetwork
from tests.models.small_zoo import SMALL


def test_every_network_has_a_small_form_for_tests() -> None:
    assert set(SMALL) == set(ZOO)


@pytest.mark.parametrize("name", ZOO)
def test_network_gives_one_picture_of_the_promised_size(name: str) -> None:
    network = create_model(name, seed=None, **SMALL[name])
    contract = network.contract
    assert isinstance(network, DeblurNetwork)
    assert (network.architecture, network.options, network.training) == (name, SMALL[name], False)
    least = max(contract.min_size, contract.multiple, 24)
    with torch.no_grad():
        restored = network(torch.rand(2, 3 * contract.window, least, least + contract.multiple))
    assert restored.shape == (2, 3, least * contract.scale, (least + contract.multiple) * contract.scale)


@pytest.mark.parametrize("name", ZOO)
def test_network_sees_each_picture_of_a_batch_alone(name: str) -> None:
    network = create_model(name, **SMALL[name])
    frames = torch.rand(2, 3 * network.contract.window, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        both, alone = network(frames), network(frames[1:])
    # convolutions of another batch size add up in another order
    assert torch.allclose(both[1:], alone, atol=1e-5)


@pytest.mark.parametrize("name", ZOO)
def test_output_layers_exist(name: str) -> None:
    network = create_model(name, seed=None, **SMALL[name])
    assert network.output_layers
    assert all(network.get_submodule(path) for path in network.output_layers)


def test_unknown_networks_and_options_are_named() -> None:
    with pytest.raises(UsageError, match="no network called 'resnet'; the zoo has wrcan"):
        create_model("resnet")
    with pytest.raises(UsageError, match="wrcan has no option depth; it has n_feats, n_resgroups, n_resblocks"):
        create_model("wrcan", depth=3)
