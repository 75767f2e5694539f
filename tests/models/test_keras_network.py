from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deblurrt.core.errors import ModelFileError
from deblurrt.models.atrous_net import AtrousNet
from deblurrt.models.carlo_net import CarloNet
from deblurrt.models.kaist_net import DownUp, KaistNet, UpDown
from deblurrt.models.keras_network import (
    DoublingConv,
    HalvingConv,
    KerasLayers,
    KerasNetwork,
    conv_same,
    fill_from_keras,
    in_keras_order,
    in_torch_order,
    keras_state_dict,
    kernel_shape,
    middle_frame,
)
from tests.models.keras_reference import keras_same, keras_same_transposed, keras_weights, same_padding, seeded_arrays
from tests.models.official_layouts import atrous_net, carlo_net, kaist_net

#: float64 against float64, hundreds of summands of the order of 1
EXACT = 1e-12

NETWORKS: list[tuple[KerasNetwork, dict[str, tuple[int, ...]]]] = [
    (CarloNet(4), carlo_net(4)),
    (KaistNet(channels=2), kaist_net(1, 2)),
    (KaistNet(channels=2, in_frames=3), kaist_net(3, 2)),
    (AtrousNet(blocks=2, channels=4), atrous_net(2, 4)),
    (AtrousNet(blocks=1, channels=4, in_frames=3, batch_norm=True), atrous_net(1, 4, 3, batch_norm=True)),
]
NAMES = ["carlo", "kaist", "kaist-3", "atrous", "atrous-3-norm"]


def in_keras(layer: nn.Module) -> np.ndarray[Any, Any]:
    """A layer's kernel as Keras has it."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return in_keras_order("kernel", weight.detach()).numpy()


def applied(layer: nn.Module, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What a layer makes of ``[height, width, channels]``, its bias left out."""
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        made: Tensor = layer(torch.from_numpy(x).permute(2, 0, 1)[None])
    return made[0].permute(1, 2, 0).numpy()


def picture(height: int, width: int, channels: int) -> np.ndarray[Any, Any]:
    return np.random.RandomState(3).randn(height, width, channels)


@pytest.mark.parametrize(("side", "dilation"), [(1, 1), (3, 1), (3, 2), (3, 3), (3, 4), (5, 1), (9, 1)])
def test_convolution_of_stride_1_pads_as_tensorflow(side: int, dilation: int) -> None:
    layer, x = conv_same(2, 3, side, dilation).double(), picture(10, 13, 2)
    expected = keras_same(x, in_keras(layer), 1, dilation)
    np.testing.assert_allclose(applied(layer, x), expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize(("side", "edges"), [(3, (0, 1)), (5, (1, 2))])
def test_halving_convolution_pads_as_tensorflow(side: int, edges: tuple[int, int]) -> None:
    layer, x = HalvingConv(2, 3, side).double(), picture(8, 14, 2)
    assert {same_padding(length, side, 2, 1) for length in (8, 14, 720)} == {edges}
    np.testing.assert_allclose(applied(layer, x), keras_same(x, in_keras(layer), 2), rtol=0, atol=EXACT)


@pytest.mark.parametrize(("block", "given"), [(DownUp(2, 0.3), 4), (UpDown(2, 0.3), 2)])
def test_transposed_convolution_of_side_4_crops_as_tensorflow(block: nn.Module, given: int) -> None:
    layer, x = block.get_submodule("up").double(), picture(4, 7, given)
    np.testing.assert_allclose(applied(layer, x), keras_same_transposed(x, in_keras(layer)), rtol=0, atol=EXACT)


def test_doubling_convolution_crops_as_tensorflow() -> None:
    layer, x = DoublingConv(3, 2).double(), picture(4, 7, 3)
    np.testing.assert_allclose(applied(layer, x), keras_same_transposed(x, in_keras(layer)), rtol=0, atol=EXACT)


def test_doubling_convolution_is_not_pytorchs_output_padding() -> None:
    layer, shifted = DoublingConv(1, 1), nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1, output_padding=1)
    shifted.load_state_dict(layer.state_dict())
    x = torch.ones(1, 1, 4, 4)
    with torch.no_grad():
        assert layer(x).shape == shifted(x).shape
        assert torch.equal(layer(x)[:, :, 1:, 1:], shifted(x)[:, :, :-1, :-1])


def test_kernels_exchange_axes_and_everything_else_does_not() -> None:
    convolution, transposed = nn.Conv2d(2, 3, (4, 5)), nn.ConvTranspose2d(2, 3, (4, 5))
    one, other = (in_keras_order("kernel", layer.weight.detach()) for layer in (convolution, transposed))
    # [height, width, in, out] and [height, width, out, in]
    assert (one.shape, other.shape) == ((4, 5, 2, 3), (4, 5, 3, 2))
    assert torch.equal(one[3, 1, 0, 2], convolution.weight[2, 0, 3, 1])
    assert torch.equal(other[3, 1, 2, 0], transposed.weight[0, 2, 3, 1])
    assert torch.equal(in_torch_order("kernel", one), convolution.weight)
    assert in_keras_order("gamma", convolution.weight) is convolution.weight


def test_names_count_each_kind_from_none() -> None:
    layers = KerasLayers([nn.Identity()] * 3, [nn.Identity()], [nn.Identity()] * 2)
    assert list(layers.named()) == [
        "conv2d",
        "conv2d_1",
        "conv2d_2",
        "conv2d_transpose",
        "batch_normalization",
        "batch_normalization_1",
    ]


@pytest.mark.parametrize(("network", "layout"), NETWORKS, ids=NAMES)
def test_weights_have_keras_names_and_shapes(network: KerasNetwork, layout: dict[str, tuple[int, ...]]) -> None:
    assert {key: tuple(value.shape) for key, value in keras_state_dict(network).items()} == layout


@pytest.mark.parametrize(("network", "layout"), NETWORKS, ids=NAMES)
def test_weights_of_keras_are_given_back(network: KerasNetwork, layout: dict[str, tuple[int, ...]]) -> None:
    arrays = seeded_arrays(layout)
    fill_from_keras(network, keras_weights(arrays))
    given = keras_state_dict(network)
    assert all(np.array_equal(given[key].numpy(), array) for key, array in arrays.items())


@pytest.mark.parametrize(("network", "layout"), NETWORKS, ids=NAMES)
def test_every_weight_of_the_network_comes_from_keras(
    network: KerasNetwork, layout: dict[str, tuple[int, ...]]
) -> None:
    with torch.no_grad():
        for value in network.state_dict().values():
            value.fill_(77)
    fill_from_keras(network, keras_weights(seeded_arrays(layout)))
    left = [key for key, value in network.state_dict().items() if bool((value == 77).any())]
    assert [key for key in left if not key.endswith("num_batches_tracked")] == []


@pytest.mark.parametrize(("network", "layout"), NETWORKS, ids=NAMES)
def test_options_are_read_off_keras_weights(network: KerasNetwork, layout: dict[str, tuple[int, ...]]) -> None:
    weights = keras_weights(seeded_arrays(layout))
    kinds: tuple[type[KerasNetwork], ...] = (CarloNet, KaistNet, AtrousNet)
    found = {kind: kind.options_of_keras(weights) for kind in kinds}
    options = found.pop(type(network))
    assert options is not None
    assert type(network)(**options).state_dict().keys() == network.state_dict().keys()
    assert set(found.values()) == {None}
    fill_from_keras(type(network)(**options), weights)


@pytest.mark.parametrize("arrays", [{}, {"conv2d/kernel:0": np.zeros((3, 3), np.float32)}])
@pytest.mark.parametrize("kind", [CarloNet, KaistNet, AtrousNet])
def test_foreign_keras_weights_are_not_recognised(kind: type[KerasNetwork], arrays: dict[str, Any]) -> None:
    assert kind.options_of_keras(keras_weights(arrays)) is None


def test_usual_options_are_left_out() -> None:
    shapes = [(9, 9, 3, 128), (3, 3, 128, 256), *[(3, 3, 1, 1)] * 52]
    arrays = {f"conv2d_{place}/kernel:0": np.broadcast_to(np.float32(0), shape) for place, shape in enumerate(shapes)}
    arrays["conv2d_transpose/kernel:0"] = np.broadcast_to(np.float32(0), (3, 3, 128, 256))
    assert AtrousNet.options_of_keras(keras_weights(arrays)) == {}
    assert KaistNet.options_of_keras(keras_weights(arrays)) is None


def test_slope_of_the_described_model_becomes_an_option() -> None:
    weights = keras_weights(seeded_arrays(kaist_net(1, 2)), slope=0.2)
    assert KaistNet.options_of_keras(weights) == {"channels": 2, "leaky_slope": 0.2}
    fill_from_keras(KaistNet(channels=2, leaky_slope=0.2), weights)


@pytest.mark.parametrize(
    ("network", "layout"),
    [(KaistNet(channels=2), kaist_net(1, 2)), (AtrousNet(blocks=1, channels=4), atrous_net(1, 4))],
)
def test_model_of_another_slope_is_refused(network: KerasNetwork, layout: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ModelFileError, match=r"have the slope 0\.2, the network's have 0\.3; make the network with"):
        fill_from_keras(network, keras_weights(seeded_arrays(layout), slope=0.2))


def test_other_shapes_missing_and_additional_layers_are_named() -> None:
    before = keras_state_dict(network := CarloNet(4))
    arrays = seeded_arrays(carlo_net(4) | {"conv2d_3/kernel:0": (3, 3, 4, 5), "conv2d_10/bias:0": (4,)})
    del arrays["conv2d_transpose_9/kernel:0"], arrays["conv2d_transpose_9/bias:0"]
    with pytest.raises(ModelFileError) as caught:
        fill_from_keras(network, keras_weights(arrays))
    assert str(caught.value) == (
        "weights.h5 does not fit the network: conv2d_transpose_9 is missing; conv2d_10 is too many; conv2d_3 has "
        "kernel [3, 3, 4, 5], bias [4] instead of kernel [3, 3, 4, 4], bias [4]; "
        "model_from_checkpoint makes the network it fits"
    )
    assert all(torch.equal(value, before[key]) for key, value in keras_state_dict(network).items())


def test_many_differences_are_counted() -> None:
    with pytest.raises(ModelFileError, match=r"conv2d_2 has .* and 17 more; model_from_checkpoint"):
        fill_from_keras(CarloNet(4), keras_weights(seeded_arrays(carlo_net(5) | {"conv2d_1/bias:0": (4,)})))


def test_weights_given_are_a_copy() -> None:
    network = CarloNet(4)
    keras_state_dict(network)["conv2d/bias:0"].fill_(9)
    assert not bool((keras_state_dict(network)["conv2d/bias:0"] == 9).any())


@pytest.mark.parametrize(
    ("value", "expected"),
    [(torch.zeros(2, 3, 5, 5), (2, 3, 5, 5)), (torch.zeros(2), ()), (torch.zeros(()), ()), ("text", ()), (None, ())],
)
def test_shape_of_what_is_no_kernel_is_empty(value: Any, expected: tuple[int, ...]) -> None:
    assert kernel_shape({"key": value}, "key") == expected
    assert kernel_shape({}, "key") == ()


def test_middle_frame_is_the_current_one() -> None:
    frames = torch.arange(9.0).reshape(1, 9, 1, 1)
    assert middle_frame(frames).flatten().tolist() == [3, 4, 5]
    assert middle_frame(frames[:, :3]).flatten().tolist() == [0, 1, 2]
