from __future__ import annotations

import numpy as np
import pytest

from deblurrt.core.errors import ContractError
from deblurrt.core.tensors import Array, TensorSpec, check_inputs

BLURRED = TensorSpec("blurred", "float32", (1, 3, "height", "width"))


def test_tensor_describes_itself_with_fixed_and_named_axes() -> None:
    assert BLURRED.describe() == "float32[1, 3, 'height', 'width']"


@pytest.mark.parametrize(
    ("dtype", "shape", "fits"),
    [
        ("float32", (1, 3, 7, 9), True),
        ("float32", (1, 3, 0, 9), True),
        ("float64", (1, 3, 7, 9), False),
        ("float32", (2, 3, 7, 9), False),
        ("float32", (1, 4, 7, 9), False),
        ("float32", (1, 3, 7), False),
        ("float32", (), False),
    ],
)
def test_tensor_accepts_its_type_and_fixed_axes_only(dtype: str, shape: tuple[int, ...], fits: bool) -> None:
    assert BLURRED.accepts(np.dtype(dtype), shape) is fits


def test_fitting_arrays_pass() -> None:
    check_inputs((BLURRED,), {"blurred": np.zeros((1, 3, 2, 2), np.float32)})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"blurred": np.zeros(2)},
            "input 'blurred' is float64[2], the network expects float32[1, 3, 'height', 'width']",
        ),
        (
            {"blurred": np.zeros((1, 1, 2, 2), np.float32)},
            "input 'blurred' is float32[1, 1, 2, 2], the network expects float32[1, 3, 'height', 'width']",
        ),
        ({}, "inputs are [], the network expects ['blurred']"),
        ({"sharp": np.zeros(2)}, "inputs are ['sharp'], the network expects ['blurred']"),
        (
            {"blurred": np.zeros(2), "more": np.zeros(2)},
            "inputs are ['blurred', 'more'], the network expects ['blurred']",
        ),
    ],
)
def test_unfit_arrays_are_refused_with_what_came_and_what_was_expected(arrays: dict[str, Array], message: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_inputs((BLURRED,), arrays)
    assert str(caught.value) == message
