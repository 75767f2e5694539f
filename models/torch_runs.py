"""Networks run on frames, and held to what their contract promises."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from ..core.causes import cause
from ..core.contract import FrameContract
from ..core.errors import BackendError, UsageError

#: multiples that are tried where a network fails at a size
MULTIPLES = (2, 4, 8, 16, 32, 64)
#: how PyTorch says that memory does not suffice, on CPU and GPU
OUT_OF_MEMORY = ("allocate memory", "out of memory")
#: least side of the frames they are tried with, pixels
LEAST_TRIED_PX = 32


def run_network(network: nn.Module, frames: Tensor, contract: FrameContract) -> Tensor:
    """Run a network once, without gradients.

    Args:
        network: In evaluation mode.
        frames: ``float32 [batch, 3 * window, height, width]`` on its device; it may write into them.
        contract: Of the network.

    Returns:
        ``[batch, 3, height * scale, width * scale]``, of the type the network gives.

    Raises:
        UsageError: The network raises, or gives something else.
        BackendError: The memory does not suffice.
    """
    shape = list(frames.shape)
    name = type(network).__name__
    try:
        with torch.no_grad():
            restored: Any = network(frames)
    except Exception as error:  # whatever the network's own code raises
        if isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
            raise BackendError(
                f"the network failed on {shape} ({cause(error)}); out of memory? --ensemble quarters needs less"
            ) from error
        raise UsageError(f"{name} fails on frames {shape}: {cause(error)}{multiple_hint(network, contract)}") from error
    wanted = _promised(shape, contract)
    if not isinstance(restored, Tensor):
        raise UsageError(
            f"{name} gives a {type(restored).__name__}, its contract promises a tensor {wanted} for frames {shape}; "
            "return the restored picture alone"
        )
    if list(restored.shape) != wanted or not restored.is_floating_point():
        kind = str(restored.dtype).removeprefix("torch.")
        raise UsageError(
            f"{name} gives {kind}{list(restored.shape)} for frames {shape}, its contract promises floats {wanted}"
            + (multiple_hint(network, contract) or _shape_remedy(restored, shape, contract))
        )
    return restored


def multiple_hint(network: nn.Module, contract: FrameContract) -> str:
    """Say which contract would do where a network runs at larger multiples only; empty where size is not the cause."""
    if _fits(network, contract, contract.multiple):
        return ""
    larger = (multiple for multiple in MULTIPLES if multiple > contract.multiple)
    found = next((multiple for multiple in larger if _fits(network, contract, multiple)), None)
    if found is None:
        return ""
    return (
        f"; it runs on sides that are multiples of {found}: "
        f"set network.contract = FrameContract(io='float', multiple={found})"
    )


def _promised(shape: list[int], contract: FrameContract) -> list[int]:
    return [shape[0], 3, shape[2] * contract.scale, shape[3] * contract.scale]


def _fits(network: nn.Module, contract: FrameContract, multiple: int) -> bool:
    """Whether a network gives what it promises on sides that are odd multiples."""
    least = max(LEAST_TRIED_PX, contract.min_size)
    count = -(-least // multiple) | 1
    device = next((tensor.device for tensor in network.parameters()), None)
    frames = torch.zeros(1, 3 * contract.window, count * multiple, (count + 2) * multiple, device=device)
    try:
        with torch.no_grad():
            restored = network(frames)
    except Exception:  # whatever the network's own code raises
        return False
    return isinstance(restored, Tensor) and list(restored.shape) == _promised(list(frames.shape), contract)


def _shape_remedy(restored: Tensor, shape: list[int], contract: FrameContract) -> str:
    other = 4 if contract.scale == 1 else 1
    if list(restored.shape) == _promised(shape, dataclasses.replace(contract, scale=other)):
        return f"; set network.contract = FrameContract(io='float', scale={other})"
    return "; return the restored picture alone, RGB, as large as the frame times the contract's scale"
