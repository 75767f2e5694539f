from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deblurrt.models.carlo_net import CarloNet
from tests.models.keras_reference import (
    ROUNDING,
    gmac_720p,
    keras_parameters,
    reaches,
    restore_seeded,
    seeded_arrays,
    seeded_frames,
)
from tests.models.official_layouts import carlo_net as carlo_layout

SMALL = 6


def test_full_size_has_the_parameters_and_the_cost_of_the_authors_network() -> None:
    with torch.device("meta"):
        network = CarloNet()
    assert keras_parameters(network) == 2_663_555
    assert gmac_720p(network) == pytest.approx(2_389, rel=0.01)


def test_contract_asks_for_21_pixels_and_an_overlap_of_20() -> None:
    contract = CarloNet(channels=1).contract
    assert (contract.task, contract.window, contract.scale, contract.multiple) == ("deblur", 1, 1, 1)
    assert (contract.min_size, contract.halo_px, contract.io) == (21, 20, "float")


def test_layers_are_ten_convolutions_and_ten_transposed_ones_without_padding() -> None:
    network = CarloNet(channels=SMALL)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    expected: dict[str, tuple[int, ...]] = {}
    for place in range(10):
        expected[f"encoder.{place}.weight"] = (SMALL, 3 if place == 0 else SMALL, 3, 3)
        expected[f"encoder.{place}.bias"] = (SMALL,)
        expected[f"decoder.{place}.weight"] = (SMALL, 3 if place == 9 else SMALL, 3, 3)
        expected[f"decoder.{place}.bias"] = (3 if place == 9 else SMALL,)
    assert shapes == expected
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
    assert {(layer.stride, layer.padding) for layer in layers} == {((1, 1), (0, 0))}


def test_restored_pixels_are_those_of_the_authors_code() -> None:
    restored = restore_seeded(CarloNet(SMALL), carlo_layout(SMALL), seeded_frames(3, 24, 27))
    # computed with get_carlo_net of MarcelloSimonati/DeepImageDeblurring, width 6, in Keras 3.15
    assert float(restored.mean()) == pytest.approx(0.317919, abs=ROUNDING)
    assert float(restored.std(correction=0)) == pytest.approx(0.342387, abs=ROUNDING)
    pixels = [restored[0, channel, y, x] for y, x, channel in [(0, 0, 0), (23, 26, 2), (12, 9, 1), (20, 5, 2)]]
    assert [float(pixel) for pixel in pixels] == pytest.approx([0.086539, 0.259397, 0.6938, 0.237482], abs=ROUNDING)


def written_out(arrays: dict[str, Tensor], frames: Tensor) -> Tensor:
    """The layers one by one, both ReLUs of every sum included; transposed ones as full correlations."""

    def layer(name: str, x: Tensor, grown: int = 0) -> Tensor:
        kernel = arrays[f"{name}/kernel:0"]
        # the adjoint's kernel, turned by half a turn, is that of a plain convolution
        weight = kernel.flip(0, 1).permute(2, 3, 0, 1) if grown else kernel.permute(3, 2, 0, 1)
        return functional.relu(functional.conv2d(functional.pad(x, (grown,) * 4), weight, arrays[f"{name}/bias:0"]))

    x, after = frames, []
    for place in range(10):
        x = layer(f"conv2d_{place}" if place else "conv2d", x)
        after.append(x)
    for place in range(10):
        x = layer(f"conv2d_transpose_{place}" if place else "conv2d_transpose", x, 2)
        if place in (0, 2, 4, 6, 8):
            x = functional.relu(x + after[8 - place])
    return x


def test_forward_is_the_layers_written_out() -> None:
    frames = seeded_frames(3, 22, 25)
    arrays = {key: torch.from_numpy(array) for key, array in seeded_arrays(carlo_layout(SMALL)).items()}
    restored = restore_seeded(CarloNet(SMALL), carlo_layout(SMALL), frames)
    torch.testing.assert_close(restored, written_out(arrays, frames), rtol=0, atol=ROUNDING)


def test_restored_picture_is_never_negative() -> None:
    with torch.no_grad():
        assert float(CarloNet(SMALL)(torch.rand(1, 3, 24, 24)).min()) >= 0


def test_sides_of_21_pixels_suffice_and_20_do_not() -> None:
    network = CarloNet(SMALL)
    with torch.no_grad():
        assert network(torch.rand(2, 3, 21, 23)).shape == (2, 3, 21, 23)
        with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
            network(torch.rand(1, 3, 20, 30))


@pytest.mark.parametrize(("axis", "size"), [(2, (48, 21)), (3, (21, 48))])
def test_receptive_field_is_41_pixels_across(axis: int, size: tuple[int, int]) -> None:
    assert reaches(CarloNet(1), size, range(22, 26), axis) == [(20, 20)] * 4


def test_own_keys_tell_the_width() -> None:
    assert CarloNet.options_of(CarloNet(SMALL).state_dict()) == {"channels": SMALL}
    with torch.device("meta"):
        assert CarloNet.options_of(CarloNet().state_dict()) == {}


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"encoder.0.weight": torch.zeros(())},
        {"encoder.0.weight": torch.zeros(6, 3, 3, 3)},
        {"encoder.0.weight": torch.zeros(6, 3, 3, 3), "decoder.9.weight": torch.zeros(6)},
        {"encoder.0.weight": torch.zeros(6, 3, 5, 5), "decoder.9.weight": torch.zeros(6, 3, 3, 3)},
    ],
)
def test_foreign_keys_are_not_recognised(state: dict[str, Tensor]) -> None:
    assert CarloNet.options_of(state) is None
