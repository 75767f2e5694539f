"""Random weights under which every part of a network is at work, for tests and benchmarks without a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .network import DeblurNetwork

#: side of the picture the scales are found on; every network of the zoo takes it
PROBE_PX = 24
#: standard deviation of what a layer gives, and of what a layer that draws the picture gives
LAYER_STD, PICTURE_STD = 0.5, 0.07
BIAS_STD = 0.1
#: colour channels
RGB = 3
#: how often the picture's mean is corrected, and the fineness of what that adds to a weight
LIFTS, WEIGHT_STEPS = 3, 4096


def seed_weights(network: DeblurNetwork, seed: int = 0) -> None:
    """Fill a network with seeded weights, in place, and mark it ``random:SEED``.

    Biases, offset convolutions and running statistics are not zero, so that a part left out or
    exported wrongly shows. Layers are scaled one after the other to a common spread (Mishkin and
    Matas, "All you need is a good init", ICLR 2016); scales are powers of two, so that the weights
    are the same bits on every machine. The restored picture is the input, or grey, plus a
    correction of 0.02 to 0.2 RMS.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            _fill(module, generator)
        probe = torch.rand(1, RGB * network.contract.window, PROBE_PX, PROBE_PX, generator=generator)
        was_training = network.training
        network.eval()
        _scale_layers(network, probe)
        network.train(was_training)
    network.weights = f"random:{seed}"


def _fill(module: nn.Module, generator: torch.Generator) -> None:
    def noise(tensor: Tensor, spread: float) -> Tensor:
        return torch.randn(tensor.shape, generator=generator) * spread

    for name, parameter in module.named_parameters(recurse=False):
        if parameter.ndim > 1:
            parameter.copy_(noise(parameter, 1 / math.sqrt(parameter[0].numel())))
        elif isinstance(module, nn.PReLU):
            parameter.fill_(0.25)
        elif isinstance(module, nn.BatchNorm2d) and name == "weight":
            parameter.copy_(1 + noise(parameter, BIAS_STD))
        else:
            parameter.copy_(noise(parameter, BIAS_STD))
    if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
        module.running_mean.copy_(noise(module.running_mean, BIAS_STD))
        module.running_var.copy_(torch.exp(noise(module.running_var, BIAS_STD)) * LAYER_STD**2)


def _scale_layers(network: DeblurNetwork, probe: Tensor) -> None:
    """Run once, scaling each layer's weights as it is reached for the first time."""
    done: set[int] = set()
    drawing = {network.get_submodule(path) for path in network.output_layers}

    def on_output(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if id(module) in done:
            return None
        done.add(id(module))
        spread = float(output.std(correction=0))
        if not math.isfinite(spread) or spread == 0:
            return None
        wanted = PICTURE_STD if module in drawing else LAYER_STD
        weight: Any = module.weight
        weight.mul_(2.0 ** round(math.log2(wanted / spread)))
        forward: Callable[..., Tensor] = module.forward
        return forward(*inputs)

    layers = [module for module in network.modules() if getattr(getattr(module, "weight", None), "ndim", 0) > 1]
    handles = [layer.register_forward_hook(on_output) for layer in layers]
    network(probe)
    for handle in handles:
        handle.remove()
    _lift_to_grey(network, [layer for layer in layers if layer in drawing], probe)


def _lift_to_grey(network: DeblurNetwork, drawing: list[nn.Module], probe: Tensor) -> None:
    """Where a network draws the whole picture, start it from grey; one that corrects its input is there already.

    Lifts are rounded coarsely, for the same reason as the scales, and repeated, since a blend passes
    on only part of one.
    """
    means: dict[nn.Module, Tensor] = {}

    def on_input(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        means[layer] = inputs[0].mean((0, 2, 3))

    handles = [layer.register_forward_pre_hook(on_input) for layer in drawing]
    for _ in range(LIFTS):
        lift = round(float(probe.mean() - network(probe).mean()) * 16) / 16
        for layer in drawing:
            _lift(layer, means[layer], lift)
    for handle in handles:
        handle.remove()


def _lift(layer: Any, mean_input: Tensor, lift: float) -> None:
    """Raise what a layer of three output channels gives by about ``lift``, through its bias or else its weights."""
    if layer.weight.shape[0] != RGB and not isinstance(layer, nn.ConvTranspose2d):
        return
    if layer.bias is not None:
        layer.bias.add_(lift)
        return
    taps = layer.weight[0, 0].numel()
    along = lift * mean_input / (taps * mean_input.square().sum())
    layer.weight.add_((along * WEIGHT_STEPS).round().reshape(1, -1, 1, 1) / WEIGHT_STEPS)
