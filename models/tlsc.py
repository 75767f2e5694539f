"""Global pools replaced by local ones for the test, weights unchanged (TLSC).

Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation", ECCV 2022. A
network trained on crops has means of crops in its pools; on a whole picture the statistics differ,
and windows of about the crops' size bring them back.
"""

from __future__ import annotations

import logging
from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..core.errors import UsageError
from .local_pool import FastLocalAvgPool2d, LocalAvgPool2d, global_pools
from .network import DeblurNetwork
from .network_copies import inference_copy
from .network_facts import facts_of, tell
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
        The copy, for inference, with the same keys; its ``tlsc`` holds the sizes.

    Raises:
        UsageError: A size is not positive, ``train_size`` is no multiple of the network's, there is no
            global pool or no longer one, or a pool sees maps of several sizes.
    """
    config = TlscConfig(_pair(train_size), _pair(base_size), fast)
    _check(network, config)
    converted = inference_copy(network)
    published = converted.pool_scales() if isinstance(converted, DeblurNetwork) else {}
    scales = published or _measured_scales(converted, config.train_size)
    for path, scale in scales.items():
        parent, _, name = path.rpartition(".")
        setattr(converted.get_submodule(parent), name, _pool(scale, config))
    tell(converted, "tlsc", config)
    return converted


def _check(network: DeblurNetwork, config: TlscConfig) -> None:
    facts = facts_of(network)
    if facts.tlsc is not None:
        raise UsageError(f"the pools of {_name(network)} are local already; apply TLSC to the network as it was before")
    if not global_pools(network):
        raise UsageError(f"{_name(network)} has no global pool to replace; leave TLSC out")
    (height, width), multiple = config.train_size, facts.contract.multiple
    if height % multiple or width % multiple:
        raise UsageError(f"the training size is {height}x{width}, {_name(network)} takes multiples of {multiple}")


def window_of(scale: Scale, config: TlscConfig) -> tuple[int, int]:
    """Height and width of the window of a pool whose map has ``scale``, pixels of the map, at least 1."""
    tall, wide = (max(int(ratio * side), 1) for ratio, side in zip(scale, config.base_size, strict=True))
    return tall, wide


def _pool(scale: Scale, config: TlscConfig) -> nn.Module:
    window = window_of(scale, config)
    if not config.fast:
        return LocalAvgPool2d(window)
    tall, wide = (int(FAST_MOST_STEPS * ratio) for ratio in scale)
    return FastLocalAvgPool2d(window, (tall, wide))


def _measured_scales(network: DeblurNetwork, train_size: tuple[int, int]) -> dict[str, Scale]:
    """Run once on a training crop and look at the size of every map that is pooled.

    Raises:
        UsageError: A pool sees maps of several sizes.
    """
    logger.warning("TLSC of %s is experimental: its effect on this network is unpublished", _name(network))
    seen: dict[str, set[Scale]] = {}

    def watch(path: str, pool: nn.Module) -> RemovableHandle:
        def on_call(_pool: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            height, width = inputs[0].shape[2:]
            seen.setdefault(path, set()).add((Fraction(height, train_size[0]), Fraction(width, train_size[1])))

        return pool.register_forward_pre_hook(on_call)

    handles = [watch(path, pool) for path, pool in global_pools(network).items()]
    reference = next(network.parameters())
    crop = reference.new_zeros(1, 3 * network.contract.window, *train_size)
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
    return facts_of(network).name
