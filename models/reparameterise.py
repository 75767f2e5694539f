"""Rewritings that change what a network costs, not what it computes; EDPN's own is in ``edpn_folding``."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.parametrize import is_parametrized

from ..core.errors import UsageError
from .network import DeblurNetwork
from .network_copies import inference_copy

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def fold_batch_norm(network: DeblurNetwork) -> DeblurNetwork:
    """Copy a network with every batch norm multiplied into the convolution before it (exact up to rounding).

    The copy is for inference: running statistics are fixed, and its keys differ from the authors'.

    Raises:
        UsageError: A batch norm does not directly follow a convolution in a ``Sequential``, or keeps no
            running statistics.
    """
    folded = fold_fitting_norms(network)
    for path, module in folded.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            why = "follows no convolution in a Sequential" if module.track_running_stats else "keeps no statistics"
            raise UsageError(f"the batch norm {path} {why}; it cannot be folded")
    return folded


def fold_fitting_norms(network: DeblurNetwork) -> DeblurNetwork:
    """Copy a network as ``fold_batch_norm`` does; a batch norm that cannot be folded stays."""
    folded = inference_copy(network)
    for sequence in [module for module in folded.modules() if isinstance(module, nn.Sequential)]:
        # not named_children: it leaves out layers that come twice, and neighbours would look adjacent
        for place, (layer, norm) in enumerate(pairwise(list(sequence))):
            if not (isinstance(layer, CONVOLUTIONS) and isinstance(norm, nn.BatchNorm2d)):
                continue
            if norm.track_running_stats and _is_bare(layer) and _is_bare(norm):
                is_transposed = isinstance(layer, nn.ConvTranspose2d)
                sequence[place] = fuse_conv_bn_eval(layer, norm, transpose=is_transposed)
                sequence[place + 1] = nn.Identity()
    return folded


def _is_bare(layer: nn.Module) -> bool:
    """Whether the layer alone works on its weights and values; folded, a hook would be lost or work twice."""
    return not (layer._forward_hooks or layer._forward_pre_hooks or is_parametrized(layer))


def drop_unused(network: DeblurNetwork) -> DeblurNetwork:
    """Copy a network without the modules its authors' code builds and never uses."""
    slim = inference_copy(network)
    for name in slim.unused:
        delattr(slim, name)
    slim.unused = ()
    return slim


def parameter_count(network: nn.Module) -> int:
    """Count the weights, each shared one once."""
    return sum(parameter.numel() for parameter in network.parameters())


def mac_count(network: DeblurNetwork, size: tuple[int, int]) -> int:
    """Count the multiply-accumulates of one frame of ``size`` (height, width) without computing it.

    Convolutions, transposed convolutions and matrix products count; a copy on the meta device is run.
    """
    from torch.utils.flop_counter import FlopCounterMode

    light = copy.deepcopy(network).to("meta")
    frames = torch.empty(1, 3 * network.contract.window, *size, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        light(frames)
    return int(counter.get_total_flops()) // 2
