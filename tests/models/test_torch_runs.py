"""Networks run on frames: what they give, and what is said where they fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import BackendError, UsageError
from deblurrt.models.torch_runs import run_network

CONTRACT = FrameContract(io="float")
FRAMES = torch.rand(1, 3, 33, 40)


class Network(nn.Module):
    """Gives what a function makes of frames."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, frames: Tensor) -> Any:
        return self.function(frames)


def refusal(function: Callable[[Tensor], Any], contract: FrameContract = CONTRACT) -> str:
    with pytest.raises(UsageError) as caught:
        run_network(Network(function), FRAMES, contract)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("function", "kind"), [(lambda x: {"out": x}, "dict"), (lambda x: (x, x), "tuple"), (lambda x: [x], "list")]
)
def test_anything_but_a_picture_alone_is_refused(function: Callable[[Tensor], Any], kind: str) -> None:
    message = refusal(function)
    assert message.startswith(f"Network gives a {kind}, its contract promises a tensor [1, 3, 33, 40]")
    assert "return the restored picture alone" in message


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (lambda x: x.mean((2, 3)), "float32[1, 3]"),
        (lambda x: x[:, :1], "float32[1, 1, 33, 40]"),
        (lambda x: x[..., 1:-1, 1:-1], "float32[1, 3, 31, 38]"),
        (lambda x: x.to(torch.uint8), "uint8[1, 3, 33, 40]"),
    ],
    ids=["two axes", "grey", "smaller", "bytes"],
)
def test_other_shapes_and_types_are_refused(function: Callable[[Tensor], Any], given: str) -> None:
    message = refusal(function)
    assert f"gives {given} for frames [1, 3, 33, 40], its contract promises floats [1, 3, 33, 40]; return" in message


def test_missing_scale_is_said() -> None:
    message = refusal(lambda x: x.repeat_interleave(4, -1).repeat_interleave(4, -2))
    assert message.endswith("set network.contract = FrameContract(io='float', scale=4)")


@pytest.mark.parametrize("times", [1, 3])
def test_network_of_a_multiple_names_it_and_the_line(times: int) -> None:
    def halved(frames: Tensor) -> Tensor:
        small = frames
        for _ in range(times):
            small = nn.functional.avg_pool2d(small, 2)
        return frames + nn.functional.interpolate(small, scale_factor=2.0**times)

    message = refusal(halved)
    assert "fails on frames [1, 3, 33, 40]: The size of tensor a" in message
    assert "test_torch_runs.py, line" in message
    assert message.endswith(f"set network.contract = FrameContract(io='float', multiple={2**times})")
    contract = FrameContract(io="float", multiple=2**times)
    assert run_network(Network(halved), torch.rand(1, 3, 24, 40), contract).shape == (1, 3, 24, 40)


def test_size_that_is_too_small_by_rounding_names_the_multiple() -> None:
    message = refusal(lambda x: nn.functional.interpolate(nn.functional.avg_pool2d(x, 4), scale_factor=4.0))
    assert message.endswith("set network.contract = FrameContract(io='float', multiple=4)")


def test_failure_that_no_size_helps_names_the_line_alone() -> None:
    def broken(frames: Tensor) -> Tensor:
        raise KeyError("no such layer")

    message = refusal(broken)
    assert "no such layer" in message
    assert "test_torch_runs.py, line" in message
    assert "multiple" not in message


def test_memory_that_does_not_suffice_is_the_machines() -> None:
    def large(frames: Tensor) -> Tensor:
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(BackendError, match="out of memory"):
        run_network(Network(large), FRAMES, CONTRACT)
