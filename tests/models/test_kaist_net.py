from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deblurrt.models.kaist_net import HALO_PX, DownUp, KaistNet, UpDown, adaptive_filter
from tests.models.keras_reference import (
    ROUNDING,
    gmac_720p,
    keras_parameters,
    reaches,
    restore_seeded,
    seeded_frames,
)
from tests.models.official_layouts import kaist_net as kaist_layout

SMALL = 4


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("in_frames", "parameters", "gmac"), [(1, 11_590_813, 825), (3, 11_595_613, 830)])
def test_full_size_has_the_parameters_and_the_cost_of_the_authors_network(
    in_frames: int, parameters: int, gmac: float
) -> None:
    with torch.device("meta"):
        network = KaistNet(in_frames=in_frames)
    assert keras_parameters(network) == parameters
    assert gmac_720p(network) == pytest.approx(gmac, rel=0.01)


def test_every_part_has_its_number_of_parameters() -> None:
    with torch.device("meta"):
        network = KaistNet()
        assert [count(DownUp(width, 0.3)) for width in (32, 64, 128)] == [84_064, 336_064, 1_343_872]
        assert [count(UpDown(width, 0.3)) for width in (64, 128)] == [84_064, 336_064]
        assert count(KaistNet(in_frames=3).head) == 7_232
    parts = {name: count(part) for name, part in network.named_children()}
    assert parts == {
        "head": 2_432,
        "stage_full": 756_576,
        "to_half": 2_112,
        "stage_half": 3_024_576,
        "to_quarter": 8_320,
        "stage_quarter": 5_375_488 + 1_344_256,
        "from_quarter": 12_352,
        "trunk": 756_576,
        "picture1": 102_464,
        "picture2": 3_104,
        "picture3": 25_632,
        "rgb": 2_403,
        "blend": 801,
        "kernel1": 102_464,
        "kernel2": 51_232,
        "kernel3": 20_025,
    }


@pytest.mark.parametrize("in_frames", [1, 3])
def test_contract_asks_for_multiples_of_8(in_frames: int) -> None:
    contract = KaistNet(in_frames=in_frames, channels=1).contract
    assert (contract.task, contract.window, contract.scale, contract.multiple) == ("deblur", in_frames, 1, 8)
    assert (contract.halo_px, contract.io) == (HALO_PX, "float")


@pytest.mark.parametrize(
    ("in_frames", "mean", "spread", "pixels"),
    [
        (1, 0.102348, 1.525847, [-0.293517, 0.052556, -0.930708, -0.69782, -1.920959]),
        (3, 0.264975, 2.491512, [-0.306553, -1.561264, 1.847097, -0.342388, -2.448827]),
    ],
)
def test_restored_pixels_are_those_of_the_authors_code(
    in_frames: int, mean: float, spread: float, pixels: list[float]
) -> None:
    network = KaistNet(in_frames=in_frames, channels=SMALL)
    restored = restore_seeded(network, kaist_layout(in_frames, SMALL), seeded_frames(3 * in_frames, 16, 24))
    # computed with get_kaist_net of MarcelloSimonati/DeepImageDeblurring, widths an eighth, in Keras 3.15
    assert float(restored.mean()) == pytest.approx(mean, abs=ROUNDING)
    assert float(restored.std(correction=0)) == pytest.approx(spread, abs=ROUNDING)
    places = [(0, 0, 0), (15, 23, 2), (8, 8, 1), (3, 22, 0), (12, 5, 2)]
    assert [float(restored[0, channel, y, x]) for y, x, channel in places] == pytest.approx(pixels, abs=ROUNDING)


def test_adaptive_filter_multiplies_every_pixels_surroundings_with_its_kernel() -> None:
    frame, kernels = np.random.RandomState(1).rand(3, 6, 7), np.random.RandomState(2).randn(25, 6, 7)
    expected = np.zeros_like(frame)
    for channel, y, x, down, right in np.ndindex(3, 6, 7, 5, 5):
        row, column = y + down - 2, x + right - 2
        if 0 <= row < 6 and 0 <= column < 7:
            expected[channel, y, x] += kernels[down * 5 + right, y, x] * frame[channel, row, column]
    filtered = adaptive_filter(torch.from_numpy(frame)[None], torch.from_numpy(kernels)[None])
    np.testing.assert_allclose(filtered[0].numpy(), expected, rtol=0, atol=1e-12)  # float64, 25 summands


def test_blocks_activate_both_layers_before_the_sum() -> None:
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    for block, layers in ((DownUp(2, 0.3), ("down", "up")), (UpDown(2, 0.3), ("up", "down"))):
        first, second = (block.get_submodule(name) for name in layers)
        with torch.no_grad():
            branch = functional.leaky_relu(second(functional.leaky_relu(first(x), 0.3)), 0.3)
            torch.testing.assert_close(block(x), x + branch, rtol=0, atol=0)


def with_central_filter(**options: Any) -> KaistNet:
    """A network whose blend takes nothing but the filtered frame, filtered by nothing."""
    network = KaistNet(channels=1, **options)
    with torch.no_grad():
        network.kernel3.weight.zero_()
        cast(Tensor, network.kernel3.bias).copy_(torch.eye(25)[12])
        cast(Tensor, network.blend.bias).fill_(1000)
    return network


@pytest.mark.parametrize("in_frames", [1, 3])
def test_the_current_frame_is_the_one_filtered(in_frames: int) -> None:
    frames = seeded_frames(3 * in_frames, 8, 16)
    with torch.no_grad():
        restored = with_central_filter(in_frames=in_frames)(frames)
    middle = 3 * (in_frames // 2)
    assert torch.equal(restored, frames[:, middle : middle + 3])


@pytest.mark.parametrize("is_activated", [False, True])
def test_option_activates_the_last_but_one_layer_of_the_kernels(is_activated: bool) -> None:
    network = KaistNet(channels=1, kernel_branch_act=is_activated, leaky_slope=0.2)
    nn.init.constant_(cast(Tensor, network.kernel2.bias), -5)
    seen: dict[str, Tensor] = {}
    network.kernel2.register_forward_hook(lambda module, inputs, output: seen.update(made=output))
    network.kernel3.register_forward_pre_hook(lambda module, inputs: seen.update(given=inputs[0]))
    with torch.no_grad():
        network(seeded_frames(3, 16, 16))
    expected = functional.leaky_relu(seen["made"], 0.2) if is_activated else seen["made"]
    assert torch.equal(seen["given"], expected)
    assert bool((seen["made"] < 0).any())


def test_slope_is_that_of_every_leaky_relu() -> None:
    one, other = KaistNet(channels=1), KaistNet(channels=1, leaky_slope=0.2)
    other.load_state_dict(one.state_dict())
    used: list[float] = []
    true_leaky = functional.leaky_relu

    def recording(x: Tensor, slope: float) -> Tensor:
        used.append(slope)
        return true_leaky(x, slope)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(functional, "leaky_relu", recording)
        one(seeded_frames(3, 16, 16))
        other(seeded_frames(3, 16, 16))
    # two per block of 35, three at the head and in the picture's branch, one in the kernels'
    assert used == [0.3] * 74 + [0.2] * 74


@pytest.mark.parametrize(("side", "is_fit"), [(8, True), (16, True), (48, True), (18, False), (20, False), (28, False)])
def test_sides_are_multiples_of_8(side: int, is_fit: bool) -> None:
    network = KaistNet(channels=1)
    with torch.no_grad():
        if is_fit:
            assert network(torch.rand(1, 3, side, 16)).shape == (1, 3, side, 16)
        else:
            with pytest.raises(RuntimeError, match="size"):
                network(torch.rand(1, 3, side, 16))


@pytest.mark.parametrize(("axis", "size"), [(2, (416, 8)), (3, (8, 416))])
def test_no_pixel_beyond_the_halo_matters(axis: int, size: tuple[int, int]) -> None:
    # positions of all phases, and 140 and 253 px away from the edges at least
    found = reaches(KaistNet(channels=1), size, range(144, 152), axis)
    assert (max(before for before, _ in found), max(after for _, after in found)) == (140, 253)
    assert max(map(max, found)) == HALO_PX


@pytest.mark.parametrize("options", [{}, {"channels": 2, "in_frames": 3}])
def test_own_keys_tell_frames_and_width(options: dict[str, Any]) -> None:
    with torch.device("meta"):
        assert KaistNet.options_of(KaistNet(**options).state_dict()) == options


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"head.weight": torch.zeros(()), "kernel3.weight": torch.zeros(())},
        {"head.weight": torch.zeros(4, 3, 5, 5)},
        {"head.weight": torch.zeros(4, 6, 5, 5), "kernel3.weight": torch.zeros(25, 4, 5, 5)},
        {"head.weight": torch.zeros(4, 3, 5, 5), "kernel3.weight": torch.zeros(25, 8, 5, 5)},
    ],
)
def test_foreign_keys_are_not_recognised(state: dict[str, Tensor]) -> None:
    assert KaistNet.options_of(state) is None
