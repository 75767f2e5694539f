"""Memory of a calibration, counted by hand on a small network."""

from __future__ import annotations

import pytest

from deblurrt.calibration.memory_need import BASE_BYTES, COPIES, MemoryNeed, memory_need
from deblurrt.plugins.onnx_ops import add_bodies, inline_bodies, node
from tests.calibration.small_networks import CHANNELS, CONTRACT, residual


def test_values_are_those_that_live_at_once() -> None:
    need = memory_need(residual(), CONTRACT, 256)
    # while the second convolution of the block runs: the frame, the head, what it takes and what it gives
    assert need.values == 4 * 256**2 * (3 + 3 * CHANNELS)


def test_weights_are_counted_once() -> None:
    kernels = 9 * (3 * CHANNELS + 2 * CHANNELS**2 + 3 * CHANNELS)
    assert memory_need(residual(), CONTRACT, 64).weights == 4 * (kernels + 3 * CHANNELS + 3)


@pytest.mark.parametrize("side", [128, 512])
def test_maps_grow_with_the_area_of_a_piece(side: int) -> None:
    assert (
        memory_need(residual(), CONTRACT, side).values
        == (side // 64) ** 2 * memory_need(residual(), CONTRACT, 64).values
    )


def test_values_within_the_bodies_of_our_operators_count() -> None:
    model = residual()
    place = next(index for index, entry in enumerate(model.graph.node) if entry.name == "tail")
    model.graph.node[place].input[0] = "pooled"
    model.graph.node.insert(place, node("LocalAvgPool", ["add"], ["pooled"], {"window": [8, 8]}))
    bodies = add_bodies(model)
    assert memory_need(bodies, CONTRACT, 128) == memory_need(inline_bodies(bodies), CONTRACT, 128)
    assert len(inline_bodies(bodies).graph.node) > len(bodies.graph.node)


def test_peak_is_that_of_handing_over_or_of_running() -> None:
    heavy, wide = MemoryNeed(1 << 30, 1 << 20, 0), MemoryNeed(1 << 20, 1 << 30, 0)
    assert heavy.total == BASE_BYTES + COPIES * heavy.weights
    assert wide.total == BASE_BYTES + 3 * wide.weights + wide.values
    assert wide.describe() == "1.23 GiB: weights 0.00, values 1.00, histograms 0.00"
