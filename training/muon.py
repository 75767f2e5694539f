"""Muon: momentum made orthogonal before each step, for convolution kernels.

After Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), on the
``[out, in*k*k]`` matrix of each kernel, scaled to the step size Adam would take. Small deblurring
networks leave their initial plateau ("do nothing") markedly earlier with it than with Adam.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

#: coefficients of the quintic Newton-Schulz iteration, as published with Muon
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 4
#: brings the root mean square of an orthogonal step to what Adam's usually is
ADAM_MATCH = 0.2


def orthogonalised(matrix: Tensor) -> Tensor:
    """Replace the singular values of ``matrix [rows, columns]`` by numbers near one."""
    a, b, c = NEWTON_SCHULZ
    wide = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    result: Tensor = wide.mT if matrix.shape[0] > matrix.shape[1] else wide
    return result


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, for parameters of two or more dimensions.

    Args:
        parameters: Convolution kernels or matrices.
        lr: Step size on Adam's scale.
        momentum: Share of the past kept each step.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Take one step from the gradients at hand; ``closure`` is not used."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group["lr"], group["momentum"])

    def _move(self, parameter: nn.Parameter, lr: float, momentum: float) -> None:
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        past = state["momentum"]
        past.lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(past, momentum).flatten(1)
        step = orthogonalised(ahead) * (ADAM_MATCH * max(ahead.shape) ** 0.5)
        parameter.add_(step.view_as(parameter), alpha=-lr)
