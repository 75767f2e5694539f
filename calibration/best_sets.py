"""The set of layers that saves most while the sum of their errors stays within a bound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: steps the bound is divided into; errors are rounded up to whole ones, so that their sum stays within it
STEPS = 4096


def largest_within(gains: Sequence[float], errors: Sequence[float], bound: float) -> list[int]:
    """Choose what gains most of all whose errors add up to no more than a bound.

    Args:
        gains: What each saves, 0 or more.
        errors: What each costs.
        bound: Most they may cost together.

    Returns:
        Places of the chosen, rising; exact but for the rounding of errors to ``STEPS`` steps of the bound.
    """
    if bound <= 0:
        return [place for place, error in enumerate(errors) if error <= 0]
    costs = [max(int(np.ceil(min(error / bound, 2.0) * STEPS - 1e-9)), 0) for error in errors]
    best = np.zeros(STEPS + 1)
    taken = np.zeros((len(costs), STEPS + 1), bool)
    for place, (gain, cost) in enumerate(zip(gains, costs, strict=True)):
        if cost <= STEPS:
            reached = best[: STEPS + 1 - cost] + gain
            taken[place, cost:] = reached > best[cost:]
            best[cost:] = np.maximum(best[cost:], reached)
    chosen, left = [], STEPS
    for place in reversed(range(len(costs))):
        if taken[place, left]:
            chosen.append(place)
            left -= costs[place]
    return chosen[::-1]
