"""Multiply-accumulates, counted against loops over what is multiplied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from deblurrt.calibration.seen_costs import macs_of


def weight(*shape: int) -> dict[str, Any]:
    return {"w": numpy_helper.from_array(np.zeros(shape, np.float32), "w")}


@pytest.mark.parametrize(
    ("operator", "shapes", "weights", "expected"),
    [
        # 5x6 places, 8 channels, of 4 channels and 3x3 places each
        pytest.param("Conv", {"x": (1, 4, 5, 6), "y": (1, 8, 5, 6)}, (8, 4, 3, 3), 5 * 6 * 8 * 4 * 9, id="conv"),
        # of each group 2 of 8 channels
        pytest.param("Conv", {"x": (1, 8, 5, 6), "y": (1, 8, 5, 6)}, (8, 2, 3, 3), 5 * 6 * 8 * 2 * 9, id="groups"),
        # each place that is given is multiplied with 2x2 places of 3 channels
        pytest.param(
            "ConvTranspose", {"x": (1, 4, 5, 6), "y": (1, 3, 10, 12)}, (4, 3, 2, 2), 5 * 6 * 4 * 3 * 4, id="up"
        ),
        pytest.param("MatMul", {"x": (2, 7, 5), "y": (2, 7, 3)}, (5, 3), 2 * 7 * 3 * 5, id="matrices"),
        pytest.param("Gemm", {"x": (7, 5), "y": (7, 3)}, (5, 3), 7 * 3 * 5, id="gemm"),
        pytest.param("Relu", {"x": (1, 4, 5, 6), "y": (1, 4, 5, 6)}, (1,), 0, id="relu"),
        pytest.param("Conv", {}, (8, 4, 3, 3), 0, id="unknown shapes"),
    ],
)
def test_products_are_counted(
    operator: str, shapes: dict[str, tuple[int, ...]], weights: tuple[int, ...], expected: int
) -> None:
    node = helper.make_node(operator, ["x", "w"], ["y"])
    assert macs_of(node, shapes, weight(*weights)) == expected


def test_turned_matrix_is_summed_over_its_rows() -> None:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transA=1)
    assert macs_of(node, {"x": (5, 7), "y": (7, 3)}, weight(5, 3)) == 7 * 3 * 5


def test_deformable_convolution_counts_as_a_plain_one() -> None:
    node = helper.make_node("ModulatedDeformConv", ["x", "offset", "mask", "w"], ["y"], domain="deblurrt")
    assert macs_of(node, {"x": (1, 4, 5, 6), "y": (1, 8, 5, 6)}, weight(8, 4, 3, 3)) == 5 * 6 * 8 * 4 * 9
