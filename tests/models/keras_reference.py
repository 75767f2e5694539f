"""What the tests of the networks from Keras share: seeded weights, TensorFlow's rules in NumPy, reaches, costs."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from deblurrt.models.keras_network import KerasNetwork, fill_from_keras
from deblurrt.models.keras_weights import KerasWeights

Arrays = dict[str, NDArray[np.float32]]

#: the same sums in another order, through tens of layers in float32; pixels are of the order of 1
ROUNDING = 1e-5


def seeded_arrays(shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Weights by Keras' names that depend on nothing but the name; ``RandomState`` is frozen for ever."""
    arrays = {}
    for key, shape in shapes.items():
        noise = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
        if key.endswith("kernel:0"):
            noise /= np.sqrt(np.prod(shape[:3]))
        elif key.endswith("moving_variance:0"):
            noise = 0.5 + 0.1 * np.abs(noise)
        else:
            noise = 0.1 * noise + (1 if key.endswith("gamma:0") else 0)
        arrays[key] = noise.astype(np.float32)
    return arrays


def keras_weights(arrays: Arrays, **fields: Any) -> KerasWeights:
    """What reading a file of these arrays gives."""
    layers: dict[str, Arrays] = {}
    for key, array in arrays.items():
        layer, kind = key.split("/")
        layers.setdefault(layer, {})[kind.removesuffix(":0")] = array
    return KerasWeights(Path("weights.h5"), layers, **fields)


def restore_seeded(network: KerasNetwork, shapes: Mapping[str, tuple[int, ...]], frames: Tensor) -> Tensor:
    """Fill a network through Keras' names and run it."""
    fill_from_keras(network, keras_weights(seeded_arrays(shapes)))
    with torch.no_grad():
        restored: Tensor = network.eval()(frames)
    return restored


def seeded_frames(channels: int, height: int, width: int) -> Tensor:
    frames = np.random.RandomState(0).random_sample((1, height, width, channels)).astype(np.float32)
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def keras_same(x: NDArray[Any], kernel: NDArray[Any], stride: int = 1, dilation: int = 1) -> NDArray[Any]:
    """TensorFlow's convolution with padding "same", tap by tap.

    Args:
        x: ``[height, width, in]``.
        kernel: ``[height, width, in, out]``.
        stride: Of both axes.
        dilation: Of both axes.
    """
    (height, width), side = x.shape[:2], kernel.shape[0]
    tall, wide = -(-height // stride), -(-width // stride)
    made = np.zeros((tall, wide, kernel.shape[3]))
    top, left = (same_padding(length, side, stride, dilation)[0] for length in (height, width))
    for row, column, down, right in np.ndindex(tall, wide, side, side):
        y, z = row * stride + down * dilation - top, column * stride + right * dilation - left
        if 0 <= y < height and 0 <= z < width:
            made[row, column] += x[y, z] @ kernel[down, right]
    return made


def keras_same_transposed(x: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
    """TensorFlow's transposed convolution, stride 2, padding "same": the adjoint of the convolution that halves.

    Args:
        x: ``[height, width, in]``.
        kernel: ``[height, width, out, in]``.
    """
    (height, width), side = x.shape[:2], kernel.shape[0]
    made = np.zeros((2 * height, 2 * width, kernel.shape[2]))
    top, left = (same_padding(2 * length, side, 2, 1)[0] for length in (height, width))
    for row, column, down, right in np.ndindex(height, width, side, side):
        y, z = 2 * row + down - top, 2 * column + right - left
        if 0 <= y < 2 * height and 0 <= z < 2 * width:
            made[y, z] += kernel[down, right] @ x[row, column]
    return made


def same_padding(length: int, side: int, stride: int, dilation: int) -> tuple[int, int]:
    """Pixels TensorFlow adds before and after."""
    made = -(-length // stride)
    total = max((made - 1) * stride + (side - 1) * dilation + 1 - length, 0)
    return total // 2, total - total // 2


def reaches(network: nn.Module, size: tuple[int, int], positions: range, axis: int) -> list[tuple[int, int]]:
    """How far before and after each position on an axis (2: rows, 3: columns) the input matters, pixels.

    All weights are positive and alike, so that nothing cancels, and small, so that no gate saturates.
    """
    network.double()
    for name, parameter in network.named_parameters():
        nn.init.constant_(parameter, 0.3 / parameter[0].numel() if name.endswith("weight") else 0.01)
    frames = torch.ones(1, 3, *size, dtype=torch.float64, requires_grad=True)
    restored, found = network(frames), []
    for position in positions:
        (gradient,) = torch.autograd.grad(restored.select(axis, position).sum(), frames, retain_graph=True)
        seen = gradient.abs().sum([dimension for dimension in range(4) if dimension != axis]).nonzero()
        found.append((position - int(seen.min()), int(seen.max()) - position))
    return found


def keras_parameters(network: KerasNetwork) -> int:
    """Count the weights as Keras does, running statistics included."""
    state = network.state_dict()
    return sum(value.numel() for key, value in state.items() if not key.endswith("num_batches_tracked"))


def gmac_720p(network: KerasNetwork) -> float:
    """Thousand million multiply-accumulates for 1280x720, of a network on the meta device."""
    frames = torch.empty(1, 3 * network.contract.window, 720, 1280, device="meta")
    with FlopCounterMode(display=False) as counter:
        network(frames)
    return float(counter.get_total_flops()) / 2e9
