from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deblurrt.models.atrous_net import AtrousBlock, AtrousNet
from deblurrt.models.keras_network import DoublingConv
from tests.models.keras_reference import (
    ROUNDING,
    gmac_720p,
    keras_parameters,
    reaches,
    restore_seeded,
    seeded_frames,
)
from tests.models.official_layouts import atrous_net as atrous_layout


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"blocks": 5}, 12_571_011),
        ({"blocks": 5, "in_frames": 3}, 12_633_219),
        ({}, 24_371_331),
        ({"in_frames": 3}, 24_433_539),
        ({"blocks": 20}, 47_971_971),
        ({"blocks": 20, "in_frames": 3}, 48_034_179),
        ({"batch_norm": True}, 24_404_355),
        ({"batch_norm": True, "in_frames": 3}, 24_466_563),
    ],
)
def test_full_size_has_the_parameters_of_the_authors_network(options: dict[str, Any], parameters: int) -> None:
    with torch.device("meta"):
        assert keras_parameters(AtrousNet(**options)) == parameters


@pytest.mark.parametrize(
    ("options", "gmac"), [({"blocks": 5}, 3_020), ({}, 5_738), ({"in_frames": 3}, 5_795), ({"blocks": 20}, 11_174)]
)
def test_full_size_costs_what_the_authors_network_does(options: dict[str, Any], gmac: float) -> None:
    with torch.device("meta"):
        network = AtrousNet(**options)
    assert gmac_720p(network) == pytest.approx(gmac, rel=0.01)


def test_every_part_has_its_number_of_parameters() -> None:
    with torch.device("meta"):
        network, wide = AtrousNet(blocks=1), AtrousNet(blocks=1, in_frames=3)
    parts = {name: sum(value.numel() for value in part.parameters()) for name, part in network.named_children()}
    assert parts == {
        "head": 31_232,
        "down": 295_168,
        "blocks": 2_360_064,
        "up": 295_040,
        "merge": 147_520,
        "tail": 1_731,
    }
    assert sum(value.numel() for value in wide.head.parameters()) == 93_440


@pytest.mark.parametrize(("blocks", "halo_px"), [(5, 58), (10, 108), (20, 208)])
def test_contract_asks_for_even_sides(blocks: int, halo_px: int) -> None:
    contract = AtrousNet(blocks=blocks, channels=4, in_frames=3).contract
    assert (contract.task, contract.window, contract.scale, contract.multiple) == ("deblur", 3, 1, 2)
    assert (contract.halo_px, contract.io) == (halo_px, "float")


@pytest.mark.parametrize(
    ("options", "mean", "spread", "pixels"),
    [
        ({"blocks": 2, "channels": 8}, 0.350531, 0.313107, [0.566889, 0.048447, 0.664069, 0.976638, 0.513585]),
        (
            {"blocks": 3, "channels": 8, "in_frames": 3, "batch_norm": True},
            -0.171278,
            1.804254,
            [0.17282, 0.813424, 1.26517, 0.08641, -0.656961],
        ),
    ],
)
def test_restored_pixels_are_those_of_the_authors_code(
    options: dict[str, Any], mean: float, spread: float, pixels: list[float]
) -> None:
    network = AtrousNet(**options)
    restored = restore_seeded(network, atrous_layout(**options), seeded_frames(3 * network.contract.window, 16, 22))
    # computed with get_atrous_net of MarcelloSimonati/DeepImageDeblurring, width 8, in Keras 3.15
    assert float(restored.mean()) == pytest.approx(mean, abs=ROUNDING)
    assert float(restored.std(correction=0)) == pytest.approx(spread, abs=ROUNDING)
    places = [(0, 0, 0), (15, 21, 2), (8, 7, 1), (3, 20, 0), (12, 5, 2)]
    assert [float(restored[0, channel, y, x]) for y, x, channel in places] == pytest.approx(pixels, abs=ROUNDING)


def test_block_joins_four_dilations_in_order() -> None:
    block, x = AtrousBlock(4, batch_norm=False), torch.randn(1, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    parts = []
    for dilation, branch in enumerate(block.branches, start=1):
        layer = branch.get_submodule("0")
        assert isinstance(layer, nn.Conv2d)
        parts.append(functional.conv2d(x, layer.weight, layer.bias, padding=dilation, dilation=dilation))
    fuse = block.fuse[0]
    assert isinstance(fuse, nn.Conv2d)
    joined = functional.leaky_relu(torch.cat(parts, dim=1), 0.3)
    expected = x + functional.leaky_relu(functional.conv2d(joined, fuse.weight, fuse.bias, padding=1), 0.3)
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-6)  # the same sums


@pytest.mark.parametrize(("axis", "size"), [(2, (15, 9)), (3, (9, 15))])
def test_receptive_field_of_a_block_is_11_pixels_across(axis: int, size: tuple[int, int]) -> None:
    block = nn.Sequential(nn.Conv2d(3, 2, 1), AtrousBlock(2, batch_norm=False), nn.Conv2d(2, 3, 1))
    assert reaches(block, size, range(7, 8), axis) == [(5, 5)]


@pytest.mark.parametrize(("axis", "is_tall"), [(2, True), (3, False)])
@pytest.mark.parametrize(("blocks", "even", "odd"), [(5, (58, 58), (57, 57)), (10, (108, 108), (107, 107))])
def test_receptive_field_is_117_or_217_pixels_across_and_2_less_at_odd_positions(
    blocks: int, even: tuple[int, int], odd: tuple[int, int], axis: int, is_tall: bool
) -> None:
    network = AtrousNet(blocks=blocks, channels=4)
    halo = network.contract.halo_px
    assert isinstance(halo, int)
    size = (2 * halo + 4, 4) if is_tall else (4, 2 * halo + 4)
    assert reaches(network, size, range(halo, halo + 4), axis) == [even, odd, even, odd]


@pytest.mark.parametrize("in_frames", [1, 3])
def test_silent_tail_returns_the_current_frame(in_frames: int) -> None:
    network = AtrousNet(blocks=1, channels=4, in_frames=in_frames)
    nn.init.zeros_(network.tail.weight)
    frames, middle = seeded_frames(3 * in_frames, 8, 10), 3 * (in_frames // 2)
    with torch.no_grad():
        assert torch.equal(network(frames), frames[:, middle : middle + 3])


@pytest.mark.parametrize("size", [(7, 8), (8, 9)])
def test_odd_sides_do_not_fit(size: tuple[int, int]) -> None:
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        AtrousNet(blocks=1, channels=4)(torch.rand(1, 3, *size))


def test_every_batch_norm_follows_its_layer_and_is_keras() -> None:
    network = AtrousNet(blocks=2, channels=8, batch_norm=True)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    followed = [
        norm
        for sequence in network.modules()
        if isinstance(sequence, nn.Sequential)
        for layer, norm in pairwise(sequence)
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) and isinstance(norm, nn.BatchNorm2d)
    ]
    assert followed == norms
    assert len(norms) == 2 * 5 + 4
    # Keras keeps 0.99 of the old statistics, PyTorch counts what is new
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


def test_statistics_leave_out_the_row_and_column_that_are_dropped() -> None:
    network = AtrousNet(blocks=1, channels=4, batch_norm=True).train()
    layer, norm = network.up[0], network.up[1]
    assert isinstance(layer, DoublingConv)
    assert isinstance(norm, nn.BatchNorm2d)
    made: list[Tensor] = []
    layer.register_forward_hook(lambda module, inputs, output: made.append(output))
    with torch.no_grad():
        network(seeded_frames(3, 8, 10))
    assert made[0].shape == (1, 2, 8, 10)
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, 0.01 * made[0].mean((0, 2, 3)))


def test_kernels_start_from_hes_distribution_and_biases_from_zero() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AtrousNet(blocks=1, channels=64)
    for name, fan_in in (("down.0", 32 * 9), ("blocks.0.fuse.0", 128 * 9), ("up.0", 32 * 9)):
        weight = network.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        # a spread measured on 18 000 numbers is known to 1 %
        assert float(weight.detach().std()) == pytest.approx(math.sqrt(2 / fan_in), rel=0.03)
    assert all(not value.any() for name, value in network.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize(
    "options", [{}, {"blocks": 2, "channels": 8}, {"blocks": 1, "channels": 4, "in_frames": 3, "batch_norm": True}]
)
def test_own_keys_tell_the_options(options: dict[str, Any]) -> None:
    with torch.device("meta"):
        assert AtrousNet.options_of(AtrousNet(**options).state_dict()) == options


HEAD, DOWN, FUSE = torch.zeros(2, 3, 9, 9), torch.zeros(4, 2, 3, 3), torch.zeros(4, 8, 3, 3)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"head.0.weight": HEAD, "down.0.weight": DOWN},
        {"head.0.weight": torch.zeros(()), "down.0.weight": DOWN, "blocks.0.fuse.0.weight": FUSE},
        {"head.0.weight": torch.zeros(2, 6, 9, 9), "down.0.weight": DOWN, "blocks.0.fuse.0.weight": FUSE},
        {"head.0.weight": HEAD, "down.0.weight": torch.zeros(4, 3, 3, 3), "blocks.0.fuse.0.weight": FUSE},
    ],
)
def test_foreign_keys_are_not_recognised(state: dict[str, Tensor]) -> None:
    assert AtrousNet.options_of(state) is None
