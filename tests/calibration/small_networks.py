"""Small float networks with one feature each, and frames to calibrate them on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from deblurrt.core.artifacts import CONTRACT_KEY
from deblurrt.core.contract import FrameContract
from deblurrt.core.pictures import write_picture
from tests.tiny_graphs import FLOATS, value

CONTRACT = FrameContract(io="float", halo_px=8, multiple=2, min_size=2)
CHANNELS = 4


class Network:
    """A graph in the making; every node is named after its result."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._rng = np.random.default_rng(seed)

    def conv(self, name: str, source: str, taken: int = CHANNELS, given: int = CHANNELS, side: int = 3) -> str:
        """Add a convolution with random weights."""
        shape = (given, taken, side, side)
        self._constant(f"{name}.weight", self._rng.normal(0, 1 / np.sqrt(taken * side * side), shape))
        self._constant(f"{name}.bias", self._rng.normal(0, 0.05, given))
        pads = [side // 2] * 4
        return self.node("Conv", name, [source, f"{name}.weight", f"{name}.bias"], pads=pads)

    def upsampling(self, name: str, source: str) -> str:
        """Add a transposed convolution that doubles the size."""
        self._constant(f"{name}.weight", self._rng.normal(0, 0.3, (CHANNELS, CHANNELS, 2, 2)))
        return self.node("ConvTranspose", name, [source, f"{name}.weight"], strides=[2, 2])

    def node(self, operator: str, name: str, sources: Sequence[str], **attributes: Any) -> str:
        """Add any node."""
        self.nodes.append(helper.make_node(operator, list(sources), [name], name=name, **attributes))
        return name

    def _constant(self, name: str, values: Any) -> None:
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))

    def model(self) -> Any:
        """The graph, whose last node gives ``restored``."""
        self.nodes[-1].output[0] = "restored"
        shape = ("batch", 3, "height", "width")
        graph = helper.make_graph(
            self.nodes, "small", [value("frames", FLOATS, shape)], [value("restored", FLOATS, shape)], self.weights
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        helper.set_model_props(model, {CONTRACT_KEY: CONTRACT.to_json()})
        onnx.checker.check_model(model)
        return model


def residual() -> Any:
    """Head, one residual block, tail, global skip."""
    net = Network()
    head = net.conv("head", "frames", taken=3)
    inner = net.node("Relu", "relu", [net.conv("conv1", head)])
    added = net.node("Add", "add", [head, net.conv("conv2", inner)])
    tail = net.conv("tail", added, given=3)
    net.node("Add", "global", ["frames", tail])
    return net.model()


def dense() -> Any:
    """Two convolutions, each of everything before it."""
    net = Network()
    head = net.conv("head", "frames", taken=3)
    first = net.node("Relu", "relu", [net.conv("conv1", head)])
    both = net.node("Concat", "concat", [head, first], axis=1)
    second = net.conv("conv2", both, taken=2 * CHANNELS)
    net.conv("tail", second, given=3)
    return net.model()


def shuffled() -> Any:
    """A convolution, a pixel shuffle, and a convolution of its result."""
    net = Network()
    down = net.node("SpaceToDepth", "fold", [net.conv("head", "frames", taken=3)], blocksize=2)
    wide = net.conv("wide", down, taken=16, given=16)
    up = net.node("DepthToSpace", "shuffle", [wide], blocksize=2)
    net.conv("tail", net.conv("conv", up), given=3)
    return net.model()


def transposed() -> Any:
    """A transposed convolution between two others."""
    net = Network()
    small = net.node("MaxPool", "pool", [net.conv("head", "frames", taken=3)], kernel_shape=[2, 2], strides=[2, 2])
    up = net.upsampling("up", net.conv("conv", small))
    net.conv("tail", up, given=3)
    return net.model()


def attentive() -> Any:
    """Channel attention within a residual block."""
    net = Network()
    head = net.conv("head", "frames", taken=3)
    features = net.conv("conv", head)
    pooled = net.node("GlobalAveragePool", "pooled", [features])
    narrow = net.node("Relu", "narrow.relu", [net.conv("narrow", pooled, given=2, side=1)])
    weight = net.node("Sigmoid", "weight", [net.conv("widen", narrow, taken=2, side=1)])
    scaled = net.node("Mul", "scaled", [features, weight])
    net.conv("tail", net.node("Add", "add", [head, scaled]), given=3)
    return net.model()


def write_frames(folder: Path, count: int = 6, size: tuple[int, int] = (48, 64), seed: int = 0) -> Path:
    """Write smooth pictures, numbered."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for index in range(count):
        waves = [
            127 + 60 * np.sin(rows / rng.uniform(4, 9) + index) + 60 * np.cos(columns / rng.uniform(4, 9) - index)
            for _ in range(3)
        ]
        write_picture(folder / f"{index:08d}.png", np.clip(np.stack(waves, -1), 0, 255).astype(np.uint8))
    return folder


def write_pairs(folder: Path, count: int = 6, size: tuple[int, int] = (48, 64)) -> Path:
    """Write a sequence of pairs whose blurred pictures differ a little from the sharp ones."""
    write_frames(folder / "sharp", count, size)
    write_frames(folder / "blur", count, size, seed=1)
    return folder


def write_noise(folder: Path, count: int = 6, size: tuple[int, int] = (48, 64)) -> Path:
    """Write pictures of random pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        write_picture(folder / f"{index:08d}.png", rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    return folder
