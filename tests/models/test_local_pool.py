"""Local means against loops over every pixel, and against pooling and padding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export
from torch.nn import functional

from deblurrt.models.local_pool import FastLocalAvgPool2d, LocalAvgPool2d, global_pools, local_mean2d

#: float32 sums of some tens of values in another order
ROUNDING = 1e-5
#: float32 differences of running sums of up to 1280 values of about 1; 8e-7 was measured
LARGE_MAP_TOLERANCE = 2e-6
#: half of float16's step just above 1, relative
FLOAT16_ROUNDING = 2**-11
#: the authors' approximation was seen to be off by up to 0.04 on uniform noise
FAST_DIFFERENCE = 0.05

#: even, odd and long sides, and pairs of them
WINDOWS = [(1, 1), (2, 2), (3, 3), (4, 6), (5, 4), (6, 1), (7, 11), (6, 10), (99, 99), (2, 99), (99, 3)]


def noise(*shape: int, mean: float = 0.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) + mean


def brute_force(x: Tensor, window: tuple[int, int]) -> Tensor:
    """One window after the other, moved into the map."""
    height, width = x.shape[2:]
    tall, wide = min(height, window[0]), min(width, window[1])
    means = torch.empty_like(x)
    for row in range(height):
        top = min(max(row - (tall - 1) // 2, 0), height - tall)
        for column in range(width):
            left = min(max(column - (wide - 1) // 2, 0), width - wide)
            means[:, :, row, column] = x[:, :, top : top + tall, left : left + wide].mean((2, 3))
    return means


def pooled_and_padded(x: Tensor, window: tuple[int, int]) -> Tensor:
    """AveragePool of stride 1 without padding, its border repeated."""
    height, width = x.shape[2:]
    tall, wide = min(height, window[0]), min(width, window[1])
    # along one axis after the other, since the cost of large windows grows with their area
    means = functional.avg_pool2d(functional.avg_pool2d(x, (1, wide), 1), (tall, 1), 1)
    spare = height - means.shape[2], width - means.shape[3]
    edges = (spare[1] // 2, (spare[1] + 1) // 2, spare[0] // 2, (spare[0] + 1) // 2)
    return functional.pad(means, edges, mode="replicate")


@pytest.mark.parametrize("window", WINDOWS)
def test_mean_is_that_of_the_window_moved_into_the_map(window: tuple[int, int]) -> None:
    x = noise(2, 3, 7, 10)
    torch.testing.assert_close(local_mean2d(x, window), brute_force(x, window), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("window", WINDOWS)
def test_mean_is_average_pooling_with_a_repeated_border(window: tuple[int, int]) -> None:
    x = noise(2, 3, 8, 13)
    torch.testing.assert_close(local_mean2d(x, window), pooled_and_padded(x, window), rtol=0, atol=ROUNDING)


def test_even_window_reaches_one_further_right_and_down() -> None:
    impulse = torch.zeros(1, 1, 200, 200, dtype=torch.float64)
    impulse[..., 100, 100] = 1
    reached = local_mean2d(impulse, (96, 96))[0, 0] > 0.5 / 96**2
    rows, columns = reached.any(dim=1).nonzero().flatten(), reached.any(dim=0).nonzero().flatten()
    # the pixel lies at most 48 after and 47 before the middle of a window
    for places in (rows, columns):
        assert (int(places[0]), int(places[-1])) == (100 - 48, 100 + 47)


def test_window_larger_than_the_map_is_the_global_mean() -> None:
    x = noise(2, 3, 5, 9)
    expected = x.mean((2, 3), keepdim=True).expand_as(x)
    torch.testing.assert_close(local_mean2d(x, (5, 9)), expected, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(local_mean2d(x, (384, 384)), expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("window", [(96, 96), (384, 384)])
def test_float32_is_accurate_on_a_720p_map_of_mean_one(window: tuple[int, int]) -> None:
    x = noise(1, 1, 720, 1280) * 2 + 1
    expected = pooled_and_padded(x.double(), window).float()
    torch.testing.assert_close(local_mean2d(x, window), expected, rtol=0, atol=LARGE_MAP_TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    x = (noise(1, 1, 300, 700) + 100).to(dtype)
    means = local_mean2d(x, (96, 96))
    assert means.dtype == dtype
    assert torch.equal(means, local_mean2d(x.float(), (96, 96)).to(dtype))


def test_float64_stays() -> None:
    x = noise(1, 2, 6, 8).double()
    torch.testing.assert_close(local_mean2d(x, (3, 4)), brute_force(x, (3, 4)), rtol=0, atol=1e-14)


def test_gradient_of_a_sum_counts_windows_over_each_pixel() -> None:
    x = torch.ones(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(local_mean2d(x, (1, 3)).sum(), x)
    # windows along a row of five start at 0, 0, 1, 2, 2
    torch.testing.assert_close(gradient[0, 0] * 3, torch.tensor([[2.0, 3, 5, 3, 2]] * 4, dtype=torch.float64))


def test_meta_maps_give_the_size() -> None:
    x = torch.empty(1, 4, 90, 160, device="meta")
    assert local_mean2d(x, (96, 96)).shape == x.shape


def test_module_keeps_its_window() -> None:
    pool, x = LocalAvgPool2d((3, 4)), noise(1, 2, 6, 8)
    assert torch.equal(pool(x), local_mean2d(x, (3, 4)))
    assert repr(pool) == "LocalAvgPool2d(window=(3, 4))"
    assert pool.state_dict() == {}


@pytest.mark.parametrize("traced_size", [(12, 16), (4, 16)])
def test_traced_pool_takes_smaller_and_larger_maps_than_its_window(traced_size: tuple[int, int]) -> None:
    pool = LocalAvgPool2d((6, 9))
    sides = {2: Dim("height", max=512), 3: Dim("width", max=512)}
    traced = export(pool, (noise(1, 2, *traced_size),), dynamic_shapes=(sides,)).module()
    for size in [(3, 3), (20, 5), (3, 30), (30, 40)]:
        x = noise(1, 2, *size)
        torch.testing.assert_close(traced(x), brute_force(x, (6, 9)), rtol=0, atol=ROUNDING)


def fast_brute_force(x: Tensor, window: tuple[int, int], steps: tuple[int, int]) -> Tensor:
    """The approximation sample by sample: the first row and column of samples start no window."""
    samples = x[:, :, :: steps[0], :: steps[1]]
    rows, columns = samples.shape[2:]
    tall, wide = min(rows - 1, window[0] // steps[0]), min(columns - 1, window[1] // steps[1])
    means = torch.empty(*x.shape[:2], (rows - tall) * steps[0], (columns - wide) * steps[1])
    for row in range(means.shape[2]):
        top = row // steps[0] + 1
        for column in range(means.shape[3]):
            left = column // steps[1] + 1
            means[:, :, row, column] = samples[:, :, top : top + tall, left : left + wide].mean((2, 3))
    spare = x.shape[2] - means.shape[2], x.shape[3] - means.shape[3]
    at = [
        (torch.arange(side) - extra // 2).clamp(0, length - 1)
        for side, extra, length in zip(x.shape[2:], spare, means.shape[2:], strict=True)
    ]
    return means[:, :, at[0]][:, :, :, at[1]]


@pytest.mark.parametrize(
    ("size", "window", "most", "steps"),
    [
        ((20, 30), (9, 12), (5, 5), (5, 5)),
        ((12, 14), (6, 6), (5, 5), (4, 2)),
        ((7, 9), (4, 4), (5, 5), (1, 3)),
        ((20, 25), (8, 9), (2, 3), (2, 3)),
        ((8, 15), (96, 6), (0, 5), (1, 5)),
        ((16, 9), (5, 96), (5, 1), (4, 1)),
    ],
)
def test_approximation_skips_samples_and_repeats_means(
    size: tuple[int, int], window: tuple[int, int], most: tuple[int, int], steps: tuple[int, int]
) -> None:
    x = noise(2, 3, *size)
    expected = fast_brute_force(x, window, steps)
    torch.testing.assert_close(FastLocalAvgPool2d(window, most)(x), expected, rtol=0, atol=ROUNDING)


def test_approximation_is_near_the_mean_on_noise() -> None:
    x = torch.rand(1, 4, 180, 320, generator=torch.Generator().manual_seed(0))
    difference = (FastLocalAvgPool2d((96, 96), (5, 5))(x) - local_mean2d(x, (96, 96))).abs().max()
    assert 0 < float(difference) < FAST_DIFFERENCE


def test_approximation_with_a_window_over_the_map_is_one_global_mean() -> None:
    x = noise(2, 3, 10, 15)
    assert torch.equal(FastLocalAvgPool2d((10, 96), (5, 5))(x), x.mean((2, 3), keepdim=True))


@pytest.mark.parametrize(("size", "window"), [((5, 20), (3, 8)), ((1, 20), (1, 8)), ((20, 20), (4, 8))])
def test_approximation_of_too_few_samples_is_the_mean(size: tuple[int, int], window: tuple[int, int]) -> None:
    x = noise(1, 2, *size)
    assert torch.equal(FastLocalAvgPool2d(window, (5, 5))(x), local_mean2d(x, window))


def test_approximation_sums_half_precision_in_float32() -> None:
    pool, x = FastLocalAvgPool2d((96, 96), (1, 1)), (noise(1, 1, 150, 300) + 100).half()
    torch.testing.assert_close(pool(x).float(), pool(x.float()), rtol=FLOAT16_ROUNDING, atol=0)
    assert pool(x).dtype == torch.float16


def test_only_pools_of_the_whole_map_are_found_under_each_of_their_names() -> None:
    pool = nn.AdaptiveAvgPool2d(1)
    network = nn.ModuleDict(
        {
            "one": nn.Sequential(pool, nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(1)),
            "two": nn.ModuleList([nn.AvgPool2d(2), pool, nn.AdaptiveAvgPool2d((1, 1))]),
        }
    )
    assert list(global_pools(network)) == ["one.0", "two.1", "two.2"]
