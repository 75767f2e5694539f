from __future__ import annotations

import pytest
import torch
from torch import nn

from deblurrt.training.muon import ADAM_MATCH, Muon, orthogonalised

#: where four iterations take singular values that were within a factor of ten of each other
LOWEST, HIGHEST = 0.6, 1.3


@pytest.mark.parametrize("shape", [(16, 144), (144, 16), (32, 288), (12, 12)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(shape[0], min(shape)))
    right, _ = torch.linalg.qr(torch.randn(shape[1], min(shape)))
    values = torch.linalg.svdvals(orthogonalised(left @ torch.diag(torch.linspace(0.5, 5, min(shape))) @ right.T))
    assert float(values.min()) > LOWEST
    assert float(values.max()) < HIGHEST


def test_singular_vectors_stay() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(8, 30, dtype=torch.float64)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ orthogonalised(matrix) @ right.T
    torch.testing.assert_close(turned, torch.diag(turned.diagonal()), rtol=0, atol=1e-9)


def test_step_does_not_depend_on_the_size_of_the_gradient() -> None:
    steps = []
    for size in (1e-3, 1.0, 1e3):
        torch.manual_seed(0)
        kernel = nn.Parameter(torch.zeros(8, 4, 3, 3))
        kernel.grad = torch.randn(8, 4, 3, 3) * size
        Muon([kernel], lr=1.0).step()
        steps.append(kernel.detach())
    # the guard against division by zero matters a little for the smallest
    torch.testing.assert_close(steps[0], steps[1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(steps[1], steps[2], rtol=1e-4, atol=1e-5)


def test_step_is_about_as_large_as_one_of_adam() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(32, 16, 3, 3))
    kernel.grad = torch.randn(32, 16, 3, 3)
    Muon([kernel], lr=1.0).step()
    size = float(kernel.detach().square().mean().sqrt())
    assert size == pytest.approx(ADAM_MATCH, rel=0.2)


def test_descent_finds_the_minimum_of_a_quadratic() -> None:
    torch.manual_seed(0)
    wanted, kernel = torch.randn(6, 5), nn.Parameter(torch.zeros(6, 5))
    optimizer = Muon([kernel], lr=0.1)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 200)
        optimizer.zero_grad()
        loss = (kernel - wanted).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert float(loss.detach()) < 0.01 * float(wanted.square().mean())


def test_second_step_remembers_the_first_gradient() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 6, 9)
    kernel = nn.Parameter(torch.zeros(6, 9))
    optimizer = Muon([kernel], lr=1.0, momentum=0.9)
    kernel.grad = first
    optimizer.step()
    before = kernel.detach().clone()
    kernel.grad = second
    optimizer.step()
    past = 0.9 * (0.1 * first) + 0.1 * second
    ahead = 0.1 * second + 0.9 * past
    torch.testing.assert_close(before - kernel.detach(), orthogonalised(ahead) * ADAM_MATCH * 3)


def test_parameters_without_gradient_stay() -> None:
    kernel = nn.Parameter(torch.ones(4, 4))
    Muon([kernel], lr=1.0).step()
    assert (kernel == 1).all()
