from __future__ import annotations

import pytest
import torch
from torch import nn

from deblurrt.models.student import Student
from deblurrt.models.student_config import STUDENT_M, STUDENT_S, STUDENT_XS, StudentConfig

TINY = StudentConfig(2, (4, 8), (1, 1), (1,))
DEEP = StudentConfig(2, (4, 8, 8), (1, 2, 1), (2, 1))
FOLDED = StudentConfig(4, (8, 8), (1, 2), (1,))
ALL = [STUDENT_XS, STUDENT_S, STUDENT_M, TINY, DEEP, FOLDED]


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize(
    ("config", "parameters"), [(STUDENT_XS, 936_464), (STUDENT_S, 633_084), (STUDENT_M, 2_914_740)]
)
def test_parameter_counts_are_those_published(config: StudentConfig, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in Student(config).parameters()) == parameters


@pytest.mark.parametrize("config", ALL)
def test_restored_picture_has_the_size_of_the_blurred_one(config: StudentConfig) -> None:
    blurred = torch.rand(2, 3, 3 * config.multiple, 2 * config.multiple)
    with torch.no_grad():
        assert Student(config)(blurred).shape == blurred.shape


@pytest.mark.parametrize("config", ALL)
def test_operations_counted_are_those_of_the_convolutions(config: StudentConfig) -> None:
    model, side, macs = Student(config), 2 * config.multiple, 0

    def count(module: nn.Module, _: object, result: torch.Tensor) -> None:
        nonlocal macs
        assert isinstance(module, nn.Conv2d)
        macs += module.weight.numel() * result.shape[2] * result.shape[3]

    for convolution in convolutions(model):
        convolution.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, 3, side, side))
    assert config.macs_per_pixel == round(macs / side**2)


@pytest.mark.parametrize("config", [TINY, DEEP, FOLDED])
def test_no_pixel_beyond_the_halo_matters(config: StudentConfig) -> None:
    model = Student(config, tail_gain=1.0).double()
    for convolution in convolutions(model):
        # all ways stay open: positive weights and features never meet a closed ReLU
        nn.init.constant_(convolution.weight, 1 / convolution.weight[0].numel())
    side = 2 * config.halo_px + 4 * config.multiple
    side += -side % config.multiple
    blurred = torch.ones(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    restored, reaches = model(blurred), []
    for row in range(side // 2, side // 2 + config.multiple):
        (gradient,) = torch.autograd.grad(restored[0, :, row, side // 2].sum(), blurred, retain_graph=True)
        rows = gradient.abs().sum(dim=(0, 1, 3)).nonzero()
        reaches.append(max(row - int(rows.min()), int(rows.max()) - row))
    assert max(reaches) == config.halo_px


def test_silent_tail_returns_the_blurred_picture() -> None:
    blurred = torch.rand(1, 3, 8, 12)
    with torch.no_grad():
        torch.testing.assert_close(Student(TINY, tail_gain=0.0)(blurred), blurred, rtol=0, atol=0)


def test_fresh_network_changes_little_but_something() -> None:
    torch.manual_seed(0)
    blurred = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        change = (Student(STUDENT_S)(blurred) - blurred).abs().mean()
    assert 1e-4 < float(change) < 0.1


def test_network_consists_of_operators_that_int8_runs_fast() -> None:
    kinds = {type(module) for module in Student(STUDENT_S).modules() if not list(module.children())}
    assert kinds == {nn.Conv2d}
    assert all(
        convolution.groups == 1 and convolution.dilation == (1, 1) for convolution in convolutions(Student(TINY))
    )
