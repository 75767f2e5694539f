"""Random weights under which every part of a network is at work."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deblurrt.models import create_model
from deblurrt.models.deform_conv import ModulatedDeformConv2d
from deblurrt.models.keras_network import middle_frame
from deblurrt.models.network import DeblurNetwork
from tests.models.small_zoo import SMALL

#: bounds of the correction, RMS of values in 0..1; pure noise as input adds its own 0.14 to networks that draw
LEAST_RMS, LARGEST_RMS = 0.02, 0.25


def picture(network: DeblurNetwork) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3 * network.contract.window, 48, 48, generator=generator) * 0.5 + 0.25


@pytest.mark.parametrize("name", SMALL)
def test_correction_is_neither_lost_nor_wild(name: str) -> None:
    network = create_model(name, **SMALL[name])
    frames = picture(network)
    with torch.no_grad():
        restored = network(frames)
    scale = float(network.contract.scale)
    untouched = functional.interpolate(middle_frame(frames), scale_factor=scale, mode="bicubic", align_corners=False)
    assert LEAST_RMS < float((restored - untouched).square().mean().sqrt()) < LARGEST_RMS


@pytest.mark.parametrize("name", SMALL)
def test_no_weight_that_is_used_leaves_the_picture_unchanged(name: str) -> None:
    """Every parameter has a gradient: no part is switched off."""
    network = create_model(name, **SMALL[name])
    network(picture(network)).square().sum().backward()
    unused = getattr(network, "unused", ())
    still = [
        key
        for key, parameter in network.named_parameters()
        if not key.startswith(tuple(unused)) and (parameter.grad is None or not parameter.grad.any())
    ]
    # MPRNet-SR's tail draws only the small picture; gates this narrow have a ReLU that is off now and then
    allowed = ("tail.weight",) if name == "mprnet_sr" else ()
    assert [key for key in still if key not in allowed and ".conv_du." not in key and "_att." not in key] == []


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    first, again, other = (create_model("eacd", seed=seed, channels=16).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["conv2.weight"], other["conv2.weight"])


def test_seeded_networks_are_marked_and_the_authors_start_is_not() -> None:
    assert create_model("carlo_net", seed=7, channels=4).weights == "random:7"
    assert create_model("carlo_net", seed=None, channels=4).weights == "initial"


def test_seeding_leaves_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    create_model("carlo_net", channels=4)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_biases_and_running_statistics_are_not_zero() -> None:
    network = create_model("eacd", channels=16)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            assert bool(module.bias.any())
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert bool(module.running_mean.any())


def test_offsets_move_by_a_fraction_of_a_pixel_and_more() -> None:
    network = create_model("edpn_deblock", **SMALL["edpn_deblock"])
    moves: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, ModulatedDeformConv2d):
            module.conv_offset_mask.register_forward_hook(lambda _module, _inputs, found: moves.append(found))
    with torch.no_grad():
        network(picture(network))
    assert all(0.1 < float(move.std()) < 5 for move in moves)


def test_the_meta_device_needs_no_weights() -> None:
    with torch.device("meta"):
        network = create_model("wrcan")
    assert network.weights == "initial"
    assert all(parameter.is_meta for parameter in network.parameters())
