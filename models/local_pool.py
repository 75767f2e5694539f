"""Means over a window around every pixel, in place of one mean over the picture (TLSC).

Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation", ECCV 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

#: the fast variant looks at every r-th row and column, r being the largest of these that divides the side
FAST_STEPS = (5, 4, 3, 2, 1)


def global_pools(network: nn.Module) -> dict[str, nn.AdaptiveAvgPool2d]:
    """Find every pool that averages a whole map, by each path it has in the network."""
    modules = network.named_modules(remove_duplicate=False)
    return {
        path: module
        for path, module in modules
        if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))
    }


def local_mean2d(features: Tensor, window: tuple[int, int]) -> Tensor:
    """Average a window around every pixel, moved inward at the borders.

    Along an axis of ``n`` samples the window has ``k = min(n, window)`` of them and starts at
    ``clamp(p - (k - 1) // 2, 0, n - k)``; an even window reaches one further right and down. Sums are
    taken along one axis after the other, in ``float32`` at least: in half precision they overflow.

    Args:
        features: ``float [batch, channel, height, width]``.
        window: Height and width, pixels.

    Returns:
        The means, of the shape and type of ``features``.
    """
    exact = features if features.dtype == torch.float64 else features.float()
    means = _mean_along(_mean_along(exact, 3, window[1]), 2, window[0])
    return means.to(features.dtype)


def _mean_along(x: Tensor, axis: int, window: int) -> Tensor:
    """Running mean along one axis, from differences of a running sum."""
    length = x.shape[axis]
    reach = min(length, window)
    zero_in_front = [0, 0] * (x.ndim - 1 - axis) + [1, 0]
    sums = torch.cumsum(functional.pad(x, zero_in_front), axis)
    start = torch.clamp(torch.arange(length, device=x.device) - (reach - 1) // 2, 0, length - reach)
    return (sums.index_select(axis, start + reach) - sums.index_select(axis, start)) / reach


class LocalAvgPool2d(nn.Module):
    """``local_mean2d`` with a fixed window, in place of a global pool.

    Args:
        window: Height and width, pixels of the map it pools.
    """

    def __init__(self, window: tuple[int, int]) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        return local_mean2d(x, self.window)

    def extra_repr(self) -> str:
        """Name the window."""
        return f"window={self.window}"


class FastLocalAvgPool2d(nn.Module):
    """The authors' quicker approximation: means of every r-th sample, repeated.

    On noise between 0 and 1 it differs by up to 0.04 from means over 96x96. Takes fixed sizes only,
    since r depends on what divides the map's sides. Maps with fewer than two samples along an axis
    and windows of less than one are averaged exactly.

    Args:
        window: Height and width, pixels of the map it pools.
        most_steps: Largest r along height and width.
    """

    def __init__(self, window: tuple[int, int], most_steps: tuple[int, int]) -> None:
        super().__init__()
        self.window, self.most_steps = window, most_steps

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if self.window[0] >= height and self.window[1] >= width:
            return x.mean((2, 3), keepdim=True)
        steps = [_step(side, most) for side, most in zip((height, width), self.most_steps, strict=True)]
        samples = (x if x.dtype == torch.float64 else x.float())[:, :, :: steps[0], :: steps[1]]
        tall, wide = (
            min(count - 1, side // step)
            for count, side, step in zip(samples.shape[2:], self.window, steps, strict=True)
        )
        if min(tall, wide) < 1:
            return local_mean2d(x, self.window)
        # without zeros in front of the sums no window starts at the first sample, as in the authors' code
        sums = samples.cumsum(3).cumsum(2)
        means = _differences(_differences(sums, 3, wide), 2, tall) / (tall * wide)
        means = functional.interpolate(means, scale_factor=(float(steps[0]), float(steps[1])))
        spare = height - means.shape[2], width - means.shape[3]
        edges = (spare[1] // 2, (spare[1] + 1) // 2, spare[0] // 2, (spare[0] + 1) // 2)
        return functional.pad(means, edges, mode="replicate").to(x.dtype)

    def extra_repr(self) -> str:
        """Name the window and the steps."""
        return f"window={self.window}, most_steps={self.most_steps}"


def _differences(sums: Tensor, axis: int, reach: int) -> Tensor:
    count = sums.shape[axis] - reach
    return sums.narrow(axis, reach, count) - sums.narrow(axis, 0, count)


def _step(side: int, most: int) -> int:
    return min(next(step for step in FAST_STEPS if side % step == 0), max(1, most))
