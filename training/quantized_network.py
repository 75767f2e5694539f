"""A network that trains as it will compute in 8 bits: rounded where a quantised file rounds, gradients passed through.

The placement is read from a file ``deblurrt quantize`` wrote of the same network; ranges are decided on several batches
by the same rules, and follow the network while it trains. Weights stay the network's own: train, export it again, and
quantise that file likewise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from ..calibration.histograms import Histogram
from ..calibration.number_forms import Scale, activation_scale, quantized_weights, scale_between
from ..calibration.quantize_config import QuantizeConfig
from ..core.artifacts import load_whole, open_onnx
from ..core.errors import UsageError
from ..core.module_paths import module_of

#: names of nodes and values that dequantise, as ``deblurrt quantize`` writes them
DEQUANTIZE = "DequantizeLinear"
#: batches a run through 8 bits takes its first ranges from
CALIBRATION_BATCHES = 8
#: steps of training between two looks at ranges, and the share of the old ones that is kept then
RANGES_EVERY, RANGES_KEPT = 16, 0.9
#: values of a tensor that are counted per batch, as the calibrator does; ends are those of all
MOST_SAMPLE = 1 << 18


@dataclass(frozen=True, slots=True)
class TrainedPlacement:
    """What of a network computes in 8 bits.

    Attributes:
        inputs: Paths of modules that take a quantised value: convolutions, and blocks whose skip branch is quantised.
        weights: Paths of convolutions whose weights are quantised.
        strides: Of transposed convolutions that the file has as plain ones before a pixel shuffle, by path: their
            weights have a scale for each place of the shuffle.
    """

    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    strides: Mapping[str, int] = field(default_factory=dict)


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
    strides: dict[str, int] = {}
    takers: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose") or _maker(makers, node.input[1]) != DEQUANTIZE:
            continue
        path = next((name for name in (module_of(node), node.name) if name and name in modules), None)
        if path is None:
            raise UsageError(f"the file's layer {node.name!r} is no module of the network; quantise a file made of it")
        weights.append(path)
        module = modules[path]
        if isinstance(module, nn.ConvTranspose2d) and node.op_type == "Conv":
            strides[path] = module.stride[0]
        if _maker(makers, node.input[0]) == DEQUANTIZE:
            inputs[path] = None
            takers.setdefault(node.input[0], path)
    for node in model.graph.node:
        skips = [name for name in node.input if name in takers] if node.op_type == "Add" else []
        # the block takes what its first convolution and its skip branch share
        inputs.update(dict.fromkeys(takers[name].rpartition(".")[0] for name in skips if "." in takers[name]))
    if not weights:
        raise UsageError("the file has no quantised layer; write it with deblurrt quantize")
    return TrainedPlacement(tuple(inputs), tuple(weights), strides)


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

    Norms of batches stay as they are in evaluation: a file has them folded into the convolutions before them, whose
    weights, with a scale per channel, are rounded alike with them and without.

    Args:
        network: What is trained; its weights, names and state stay as they are.
        placement: What is rounded.
        config: How ranges are decided; of the target the file is for.

    Example:
        >>> rounded = QuantizedNetwork(network, trained_placement(model, network), QuantizeConfig("openvino"))
        >>> rounded.calibrate(batches)
        >>> loss(rounded(blurred), sharp).backward()

    Raises:
        UsageError: The file is in 8-bit floats, or weights of the network are computed.
    """

    def __init__(self, network: nn.Module, placement: TrainedPlacement, config: QuantizeConfig) -> None:
        super().__init__()
        if config.format == "fp8":
            raise UsageError("8-bit floats are not trained through; give a file of --format int8 or w8a16")
        parameters = dict(network.named_parameters())
        computed = next((path for path in placement.weights if f"{path}.weight" not in parameters), None)
        if computed is not None:
            raise UsageError(f"the weights of {computed!r} are computed, by a weight norm perhaps; fold it first")
        self.network, self._placement, self._config = network, placement, config
        self._scales: dict[str, Scale] | None = None
        self._shares: dict[str, Tensor] = {}
        self._seen: dict[str, Histogram] | None = None
        self._steps = 0
        self._is_rounding = False
        modules = dict(network.named_modules())
        self._transposed = {path for path in placement.weights if isinstance(modules[path], nn.ConvTranspose2d)}
        for path in placement.inputs:
            modules[path].register_forward_pre_hook(self._hook(path))
        self.train(self.training)

    def train(self, mode: bool = True) -> QuantizedNetwork:
        """Train or evaluate; norms of batches evaluate in either case."""
        super().train(mode)
        for module in self.network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Decide ranges on batches, in float; may be called again when weights have moved a lot."""
        self._seen = {path: Histogram() for path in self._placement.inputs}
        with torch.no_grad():
            for batch in batches:
                self.network(batch.to(next(self.network.parameters()).device))
        self._scales = {path: activation_scale(seen, self._config) for path, seen in self._seen.items()}
        self._seen = None
        for path in self._placement.weights:
            self._shares[path] = self._share_of_peaks(path)

    def forward(self, x: Tensor) -> Tensor:
        """Run with inputs and weights rounded; gradients pass where nothing is cut off."""
        if self._scales is None:
            raise UsageError("ranges are not known yet; call calibrate() with some batches first")
        parameters = dict(self.network.named_parameters())
        rounded = {f"{path}.weight": self._weights(path, parameters) for path in self._placement.weights}
        is_due = self.training and self._steps % RANGES_EVERY == RANGES_EVERY - 1
        self._steps += self.training
        self._seen = {path: Histogram() for path in self._placement.inputs} if is_due else None
        self._is_rounding = True
        try:
            return cast(Tensor, torch.func.functional_call(self.network, rounded, (x,)))
        finally:
            self._is_rounding = False
            self._follow()

    def _follow(self) -> None:
        """Move ranges a little towards those of the batch that was looked at."""
        for path, seen in (self._seen or {}).items():
            if self._scales is not None and seen.frames:
                old, new = self._scales[path], activation_scale(seen, self._config)
                low = RANGES_KEPT * old.low + (1 - RANGES_KEPT) * new.low
                high = RANGES_KEPT * old.high + (1 - RANGES_KEPT) * new.high
                self._scales[path] = scale_between(low, high, self._config)
        self._seen = None

    def _hook(self, path: str) -> Any:
        def before(_module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if self._seen is not None:
                values = arguments[0].detach().cpu().numpy()
                # an odd step meets every place of a pixel shuffle
                step = values.size // MOST_SAMPLE // 2 * 2 + 1
                sample = values.reshape(-1)[::step]
                self._seen[path].add(sample, float(np.min(values)), float(np.max(values)))
            if not self._is_rounding:
                return None
            return (self._activation(path, arguments[0]), *arguments[1:])

        return before

    def _activation(self, path: str, values: Tensor) -> Tensor:
        scale = cast("dict[str, Scale]", self._scales)[path]
        low, high = (0, 255) if self._config.is_unsigned else (-127, 127)
        return torch.fake_quantize_per_tensor_affine(values, scale.step, scale.zero_point, low, high)

    def _weights(self, path: str, parameters: Mapping[str, Tensor]) -> Tensor:
        weights = parameters[f"{path}.weight"]
        peak = int(self._config.weight_peak)
        rows = self._rows(path, weights)
        steps = rows.detach().abs().amax(dim=1) / peak
        if path in self._shares:
            steps = steps * self._shares[path]
        steps = steps.clamp_min(1e-12)
        zeros = torch.zeros_like(steps, dtype=torch.int32)
        rounded = torch.fake_quantize_per_channel_affine(rows, steps, zeros, 0, -peak, peak)
        return self._from_rows(path, rounded, weights)

    def _share_of_peaks(self, path: str) -> Tensor:
        """How much of each channel's largest weight its range covers, by the rule of a file."""
        weights = dict(self.network.named_parameters())[f"{path}.weight"].detach()
        rows = self._rows(path, weights)
        steps = quantized_weights(rows.cpu().numpy(), 0, self._config).steps
        peaks = rows.abs().amax(dim=1).clamp_min(1e-12)
        return (torch.from_numpy(steps).to(peaks) * self._config.weight_peak / peaks).clamp(max=1.0)

    def _rows(self, path: str, weights: Tensor) -> Tensor:
        """Weights with all that share a scale in one row."""
        if path not in self._transposed:
            return weights.flatten(1)
        stride = self._placement.strides.get(path, 1)
        taken, given, tall, wide = weights.shape
        filled = functional.pad(weights, (0, -wide % stride, 0, -tall % stride))
        parts = filled.reshape(taken, given, -(-tall // stride), stride, -(-wide // stride), stride)
        return parts.permute(1, 3, 5, 0, 2, 4).reshape(given * stride * stride, -1)

    def _from_rows(self, path: str, rows: Tensor, like: Tensor) -> Tensor:
        """Put rows back to where they were."""
        if path not in self._transposed:
            return rows.reshape(like.shape)
        stride = self._placement.strides.get(path, 1)
        taken, given, tall, wide = like.shape
        parts = rows.reshape(given, stride, stride, taken, -(-tall // stride), -(-wide // stride))
        filled = parts.permute(3, 0, 4, 1, 5, 2).reshape(taken, given, tall + -tall % stride, wide + -wide % stride)
        return filled[:, :, :tall, :wide]
