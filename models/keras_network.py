"""What the three networks that come from Keras share: padding, axis order and names of their layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.errors import ModelFileError
from .keras_weights import KerasWeights
from .network import DeblurNetwork

#: slope of Keras' LeakyReLU
LEAKY_SLOPE = 0.3
#: Keras' name of an array -> PyTorch's
CONVOLUTION_ARRAYS = {"kernel": "weight", "bias": "bias"}
NORM_ARRAYS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
#: channels of the input -> frames in it
FRAMES_OF_CHANNELS = {3: 1, 9: 3}


@dataclass(frozen=True, slots=True)
class KerasLayers:
    """A network's layers in the order Keras made them, which its names count.

    Attributes:
        convolutions: ``conv2d``, ``conv2d_1``, …
        transposed: ``conv2d_transpose``, …
        norms: ``batch_normalization``, …
    """

    convolutions: Sequence[nn.Module]
    transposed: Sequence[nn.Module] = ()
    norms: Sequence[nn.Module] = ()

    def named(self) -> dict[str, nn.Module]:
        """Every layer under Keras' name for it."""
        kinds = {
            "conv2d": self.convolutions,
            "conv2d_transpose": self.transposed,
            "batch_normalization": self.norms,
        }
        return {
            f"{kind}_{place}" if place else kind: layer
            for kind, layers in kinds.items()
            for place, layer in enumerate(layers)
        }


class KerasNetwork(DeblurNetwork):
    """A network whose authors published Keras weights.

    Attributes:
        slope: Of its leaky ReLUs; None without.
    """

    slope: float | None = None

    def keras_layers(self) -> KerasLayers:
        """List the layers in the order Keras made them."""
        raise NotImplementedError

    @classmethod
    def options_of_keras(cls, weights: KerasWeights) -> dict[str, Any] | None:
        """Read the options off the shapes of Keras' kernels; None if they are of another network."""
        raise NotImplementedError


def arrays_of(layer: nn.Module) -> dict[str, Tensor]:
    """A layer's tensors under Keras' names for them, in PyTorch's axis order."""
    names = NORM_ARRAYS if isinstance(layer, nn.BatchNorm2d) else CONVOLUTION_ARRAYS
    return {keras_name: cast(Tensor, getattr(layer, name)) for keras_name, name in names.items()}


def kernel_shape(state: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    """Shape of a kernel, ``(out, in, height, width)``; empty if the key is missing or of no kernel."""
    shape = tuple(getattr(state.get(key), "shape", ()))
    return shape if len(shape) == 4 else ()


def in_keras_order(name: str, tensor: Tensor) -> Tensor:
    """Turn PyTorch's kernel into ``[height, width, in, out]`` (transposed: ``[height, width, out, in]``).

    PyTorch has ``[out, in, height, width]``, transposed ``[in, out, height, width]``: for both the
    last two axes go first and the first two are exchanged.
    """
    return tensor.permute(2, 3, 1, 0) if name == "kernel" else tensor


def in_torch_order(name: str, array: Tensor) -> Tensor:
    """Undo ``in_keras_order``."""
    return array.permute(3, 2, 0, 1) if name == "kernel" else array


def conv_same(given: int, made: int, side: int = 3, dilation: int = 1) -> nn.Conv2d:
    """Convolution of stride 1 that keeps the size; TensorFlow pads it evenly."""
    return nn.Conv2d(given, made, side, padding=dilation * (side // 2), dilation=dilation)


class HalvingConv(nn.Conv2d):
    """Convolution of stride 2 as TensorFlow pads it for even sizes: one pixel less before than after.

    Args:
        given: Input channels.
        made: Output channels.
        side: Of the kernel, odd.
    """

    def __init__(self, given: int, made: int, side: int) -> None:
        super().__init__(given, made, side, stride=2)
        # (n / 2 - 1) * 2 + side - n = side - 2 pixels in all, the odd one after
        before, after = (side - 2) // 2, (side - 1) // 2
        self._edges = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, self._edges))


class DoublingConv(nn.ConvTranspose2d):
    """Transposed convolution of stride 2 and side 3 as TensorFlow crops it: the last row and column are dropped.

    ``padding=1, output_padding=1`` would drop the first ones.

    Args:
        given: Input channels.
        made: Output channels.
    """

    def __init__(self, given: int, made: int) -> None:
        super().__init__(given, made, 3, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(x, output_size)[:, :, :-1, :-1]


def leaky(x: Tensor, slope: float = LEAKY_SLOPE) -> Tensor:
    """Leaky ReLU with Keras' slope."""
    return functional.leaky_relu(x, slope)


def middle_frame(frames: Tensor) -> Tensor:
    """The current frame of one or of three: ``[batch, 3, height, width]``."""
    first = frames.shape[1] // 3 // 2 * 3
    return frames[:, first : first + 3]


def keras_state_dict(network: KerasNetwork) -> dict[str, Tensor]:
    """A network's weights under Keras' names and in its axis order, each tensor a copy."""
    return {
        f"{layer_name}/{name}:0": in_keras_order(name, tensor.detach()).contiguous().clone()
        for layer_name, layer in network.keras_layers().named().items()
        for name, tensor in arrays_of(layer).items()
    }


def fill_from_keras(network: KerasNetwork, weights: KerasWeights) -> None:
    """Copy Keras' weights into a network, layer by layer.

    Raises:
        ModelFileError: The number of layers, a shape or the slope of leaky ReLUs is not the network's.
    """
    if weights.slope not in (None, network.slope):
        raise ModelFileError(
            f"{weights.path} is of a model whose leaky ReLUs have the slope {weights.slope}, the network's have "
            f"{network.slope}; make the network with that slope, or let model_from_checkpoint make it"
        )
    layers = network.keras_layers().named()
    weights.check_layers(
        {
            name: {key: tuple(in_keras_order(key, value).shape) for key, value in arrays_of(layer).items()}
            for name, layer in layers.items()
        }
    )
    with torch.no_grad():
        for layer_name, layer in layers.items():
            for name, tensor in arrays_of(layer).items():
                tensor.copy_(in_torch_order(name, torch.from_numpy(weights.layers[layer_name][name])))
