"""A network that trains as it will compute in 8 bits: rounded where a quantised file rounds, gradients passed through.

The placement is read from a file ``deblurrt quantize`` wrote of the same network; ranges are decided on batches by the
same rules. Weights stay the network's own: train, export it again, and quantise that file likewise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..calibration.histograms import Histogram
from ..calibration.number_forms import Scale, activation_scale
from ..calibration.quantize_config import QuantizeConfig
from ..core.artifacts import load_whole, open_onnx
from ..core.errors import UsageError
from ..core.module_paths import module_of

#: names of nodes and values that dequantise, as ``deblurrt quantize`` writes them
DEQUANTIZE = "DequantizeLinear"


@dataclass(frozen=True, slots=True)
class TrainedPlacement:
    """What of a network computes in 8 bits.

    Attributes:
        inputs: Paths of modules that take a quantised value: convolutions, and blocks whose skip branch is quantised.
        weights: Paths of convolutions whose weights are quantised.
    """

    inputs: tuple[str, ...]
    weights: tuple[str, ...]


def trained_placement(model: Any, network: nn.Module) -> TrainedPlacement:
    """Read the placement of a quantised file and find its modules.

    Args:
        model: ``onnx.ModelProto`` that ``deblurrt quantize`` wrote of this network.
        network: The network.

    Raises:
        UsageError: The file is not quantised, or a layer of it is no module of the network.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    modules = dict(network.named_modules())
    inputs: dict[str, None] = {}
    weights: list[str] = []
    takers: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose") or _maker(makers, node.input[1]) != DEQUANTIZE:
            continue
        path = next((name for name in (module_of(node), node.name) if name and name in modules), None)
        if path is None:
            raise UsageError(f"the file's layer {node.name!r} is no module of the network; quantise a file made of it")
        weights.append(path)
        if _maker(makers, node.input[0]) == DEQUANTIZE:
            inputs[path] = None
            takers.setdefault(node.input[0], path)
    for node in model.graph.node:
        skips = [name for name in node.input if name in takers] if node.op_type == "Add" else []
        # the block takes what its first convolution and its skip branch share
        inputs.update(dict.fromkeys(takers[name].rpartition(".")[0] for name in skips if "." in takers[name]))
    if not weights:
        raise UsageError("the file has no quantised layer; write it with deblurrt quantize")
    return TrainedPlacement(tuple(inputs), tuple(weights))


def rounded_network(network: nn.Module, path: Path) -> QuantizedNetwork:
    """Make a network train through the 8 bits of a file that was quantised of one like it.

    Raises:
        ModelFileError: The file is missing or no ONNX.
        UsageError: It is not quantised, or of another network.
    """
    file = open_onnx(path)
    told = file.provenance.get("calibration", {})
    names = ("target", "format", "method", "narrow_weights")
    config = QuantizeConfig(**{name: told[name] for name in names if name in told})
    return QuantizedNetwork(network, trained_placement(load_whole(file), network), config)


def _maker(makers: Mapping[str, Any], name: str) -> str:
    return makers[name].op_type if name in makers else ""


class QuantizedNetwork(nn.Module):
    """A network seen through 8 bits.

    Args:
        network: What is trained; its weights, names and state stay as they are.
        placement: What is rounded.
        config: How ranges are decided; of the target the file is for.

    Example:
        >>> rounded = QuantizedNetwork(network, trained_placement(model, network), QuantizeConfig("openvino"))
        >>> rounded.calibrate(batches)
        >>> loss(rounded(blurred), sharp).backward()
    """

    def __init__(self, network: nn.Module, placement: TrainedPlacement, config: QuantizeConfig) -> None:
        super().__init__()
        self.network, self._placement, self._config = network, placement, config
        self._scales: dict[str, Scale] = {}
        self._seen: dict[str, Histogram] | None = None
        self._is_rounding = False
        modules = dict(network.named_modules())
        for path in placement.inputs:
            modules[path].register_forward_pre_hook(self._hook(path))

    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Decide ranges on batches, in float; may be called again when weights have moved."""
        self._seen = {path: Histogram() for path in self._placement.inputs}
        with torch.no_grad():
            for batch in batches:
                self.network(batch)
        self._scales = {path: activation_scale(seen, self._config) for path, seen in self._seen.items()}
        self._seen = None

    def forward(self, x: Tensor) -> Tensor:
        """Run with inputs and weights rounded; gradients pass where nothing is cut off."""
        if not self._scales:
            raise UsageError("ranges are not known yet; call calibrate() with some batches first")
        parameters = dict(self.network.named_parameters())
        rounded = {f"{path}.weight": self._weights(path, parameters) for path in self._placement.weights}
        self._is_rounding = True
        try:
            return cast(Tensor, torch.func.functional_call(self.network, rounded, (x,)))
        finally:
            self._is_rounding = False

    def _hook(self, path: str) -> Any:
        def before(_module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if self._seen is not None:
                values = arguments[0].detach().cpu().numpy()
                self._seen[path].add(values, float(np.min(values)), float(np.max(values)))
            if not self._is_rounding:
                return None
            return (self._activation(path, arguments[0]), *arguments[1:])

        return before

    def _activation(self, path: str, values: Tensor) -> Tensor:
        scale = self._scales[path]
        low, high = (0, 255) if self._config.is_unsigned else (-127, 127)
        return torch.fake_quantize_per_tensor_affine(values, scale.step, scale.zero_point, low, high)

    def _weights(self, path: str, parameters: Mapping[str, Tensor]) -> Tensor:
        weights = parameters[f"{path}.weight"]
        is_transposed = isinstance(dict(self.network.named_modules())[path], nn.ConvTranspose2d)
        axis, peak = int(is_transposed), int(self._config.weight_peak)
        others = [place for place in range(weights.ndim) if place != axis]
        steps = (weights.detach().abs().amax(dim=others) / peak).clamp_min(1e-12)
        zeros = torch.zeros_like(steps, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weights, steps, zeros, axis, -peak, peak)
