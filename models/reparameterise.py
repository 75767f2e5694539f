"""Rewritings that change what a network costs, not what it computes; EDPN's own is in ``edpn_folding``."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..core.errors import UsageError
from .network import DeblurNetwork

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def fold_batch_norm(network: DeblurNetwork) -> DeblurNetwork:
    """Copy a network with every batch norm multiplied into the convolution before it (exact up to rounding).

    The copy is for inference: running statistics are fixed, and its keys differ from the authors'.

    Raises:
        UsageError: A batch norm does not directly follow a convolution in a ``Sequential``, or keeps no
            running statistics.
    """
    folded = copy.deepcopy(network).eval()
    for sequence in [module for module in folded.modules() if isinstance(module, nn.Sequential)]:
        # not named_children: it leaves out layers that come twice, and neighbours would look adjacent
        for place, (layer, norm) in enumerate(pairwise(list(sequence))):
            if isinstance(layer, CONVOLUTIONS) and isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats:
                is_transposed = isinstance(layer, nn.ConvTranspose2d)
                sequence[place] = fuse_conv_bn_eval(layer, norm, transpose=is_transposed)
                sequence[place + 1] = nn.Identity()
    for path, module in folded.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            why = "follows no convolution in a Sequential" if module.track_running_stats else "keeps no statistics"
            raise UsageError(f"the batch norm {path} {why}; it cannot be folded")
    return folded


def drop_unused(network: DeblurNetwork) -> DeblurNetwork:
    """Copy a network without the modules its authors' code builds and never uses."""
    slim = copy.deepcopy(network)
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
