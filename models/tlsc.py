"""Global pools replaced by local ones for the test, weights unchanged (TLSC).

Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation", ECCV 2022. A
network trained on crops has means of crops in its pools; on a whole picture the statistics differ,
and windows of about the crops' size bring them back.
"""

from __future__ import annotations

import copy
import logging
from fractions import Fraction

import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from .local_pool import FastLocalAvgPool2d, LocalAvgPool2d
from .network import DeblurNetwork
from .tlsc_config import TlscConfig

logger = logging.getLogger(__name__)

#: of the fast variant: steps for a map as large as the training crop
FAST_MOST_STEPS = 5

Size = int | tuple[int, int]
#: side of a map over the side of the input, along height and width
Scale = tuple[Fraction, Fraction]


def apply_tlsc(network: DeblurNetwork, train_size: Size, base_size: Size, *, fast: bool = False) -> DeblurNetwork:
    """Copy a network with every global pool replaced by a local one.

    The window of a pool is ``base_size`` times the scale of its map, rounded down, and stays the same
    whatever the size of later inputs: MPRNet 256 and 384, MPRNet-SR 64 and 96.

    Args:
        network: Left as it is.
        train_size: Side, or height and width, of the crops it was trained on.
        base_size: Side, or height and width, of the window at the scale of the input.
        fast: Whether to take the authors' approximation.

    Returns:
        The copy, with the same keys; its ``tlsc`` holds the sizes.

    Raises:
        UsageError: A size is not positive, is no multiple of the network's, or there is no global pool.
    """
    config = TlscConfig(_pair(train_size), _pair(base_size), fast)
    scales = network.pool_scales() or _measured_scales(network, config.train_size)
    if not scales:
        raise UsageError(f"{_name(network)} has no global pool to replace; leave TLSC out")
    converted = copy.deepcopy(network)
    for path, scale in scales.items():
        parent, _, name = path.rpartition(".")
        setattr(converted.get_submodule(parent), name, _pool(scale, config))
    converted.tlsc = config
    return converted


def window_of(scale: Scale, config: TlscConfig) -> tuple[int, int]:
    """Height and width of the window of a pool whose map has ``scale``, pixels of the map."""
    tall, wide = (int(ratio * side) for ratio, side in zip(scale, config.base_size, strict=True))
    return max(tall, 1), max(wide, 1)


def _pool(scale: Scale, config: TlscConfig) -> nn.Module:
    window = window_of(scale, config)
    if not config.fast:
        return LocalAvgPool2d(window)
    tall, wide = (int(FAST_MOST_STEPS * ratio) for ratio in scale)
    return FastLocalAvgPool2d(window, (tall, wide))


def _measured_scales(network: DeblurNetwork, train_size: tuple[int, int]) -> dict[str, Scale]:
    """Run once on a training crop and look at the size of every map that is pooled.

    Raises:
        UsageError: The crop is no multiple of the network's sizes, or a pool sees maps of several sizes.
    """
    logger.warning("TLSC of %s is experimental: nobody published it for this network", _name(network))
    multiple = network.contract.multiple
    if train_size[0] % multiple or train_size[1] % multiple:
        raise UsageError(f"the training size is {train_size[0]}x{train_size[1]}, expected multiples of {multiple}")
    seen: dict[str, set[Scale]] = {}

    def watch(path: str, pool: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def on_call(_pool: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            height, width = inputs[0].shape[2:]
            seen.setdefault(path, set()).add((Fraction(height, train_size[0]), Fraction(width, train_size[1])))

        return pool.register_forward_pre_hook(on_call)

    handles = [watch(path, pool) for path, pool in network.named_modules() if isinstance(pool, nn.AdaptiveAvgPool2d)]
    reference = next(network.parameters())
    crop = torch.zeros(1, 3 * network.contract.window, *train_size, device=reference.device, dtype=reference.dtype)
    with torch.inference_mode():
        network(crop)
    for handle in handles:
        handle.remove()
    for path, scales in seen.items():
        if len(scales) > 1:
            raise UsageError(f"the pool {path} of {_name(network)} sees maps of several sizes; no window fits them all")
    return {path: next(iter(scales)) for path, scales in seen.items()}


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _name(network: DeblurNetwork) -> str:
    return network.architecture or type(network).__name__
