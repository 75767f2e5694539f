"""Graphs run for calibration: pieces of frames, whole frames of any size, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from deblurrt.calibration.graph_sessions import cropped, fixed_size, open_graph, open_restorer
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import ModelFileError
from deblurrt.core.optional import require
from deblurrt.runtime.session import finish, prepare
from tests.calibration.small_networks import CONTRACT, residual

FRAME = np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)


def fixed(model: Any, height: int, width: int) -> Any:
    """Fix the size of frames."""
    for value in (model.graph.input[0], model.graph.output[0]):
        dims = value.type.tensor_type.shape.dim
        dims[2].dim_value, dims[3].dim_value = height, width
    return model


@pytest.mark.parametrize("is_plain", [False, True])
def test_frame_of_odd_size_is_restored_as_the_runtime_does(is_plain: bool) -> None:
    model = residual()
    restored = open_restorer(model, CONTRACT, is_plain=is_plain)((FRAME,))
    session = require("onnxruntime", purpose="tests").InferenceSession(model.SerializeToString())
    expected = finish(session.run(None, {"frames": prepare([FRAME], CONTRACT)})[0], CONTRACT, (37, 51))
    assert restored.shape == FRAME.shape
    # one grey level where a sum in another order rounds the other way
    assert np.abs(restored.astype(int) - expected).max() <= 1


def test_named_values_are_given_in_the_order_of_their_names() -> None:
    model = residual()
    model.graph.output.add(name="head")
    run = open_graph(model, is_plain=True)
    feed = {"frames": prepare([FRAME], CONTRACT)}
    head, restored = run(["head", "restored"], feed)
    assert (head.shape[1], restored.shape[1]) == (4, 3)
    assert [array.shape[1] for array in run(None, feed)] == [3, 4]


def test_graph_that_cannot_be_opened_is_refused_in_one_line() -> None:
    model = residual()
    model.graph.node[0].op_type = "Unheard"
    with pytest.raises(ModelFileError, match="ONNX Runtime refuses the graph") as caught:
        open_graph(model)
    assert "\n" not in str(caught.value)


def test_frame_the_network_cannot_take_is_refused_in_one_line() -> None:
    run = open_graph(fixed(residual(), 32, 32))
    with pytest.raises(ModelFileError, match="the network cannot be run on a frame") as caught:
        run(None, {"frames": prepare([FRAME], CONTRACT)})
    assert "\n" not in str(caught.value)


def test_size_a_graph_is_fixed_to_is_known() -> None:
    assert fixed_size(residual(), CONTRACT) is None
    assert fixed_size(fixed(residual(), 48, 64), CONTRACT) == (48, 64)
    half = residual()
    half.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 48
    assert fixed_size(half, CONTRACT) is None
    taken = onnx.helper.make_tensor_value_info("frames", onnx.TensorProto.UINT8, [1, 48, 64, 3])
    in_bytes = residual()
    in_bytes.graph.input[0].CopyFrom(taken)
    assert fixed_size(in_bytes, FrameContract(io="uint8")) == (48, 64)


@pytest.mark.parametrize(("side", "expected"), [(16, (16, 16)), (40, (37, 40)), (512, (37, 51))])
def test_piece_is_cut_out_of_every_picture_at_the_same_place(side: int, expected: tuple[int, int]) -> None:
    window = (FRAME, 255 - FRAME, FRAME)
    found = cropped(window, side, np.random.default_rng(4), None)
    assert {pixels.shape[:2] for pixels in found} == {expected}
    assert (found[0] == 255 - found[1]).all()
    places = [
        (top, left)
        for top in range(37 - expected[0] + 1)
        for left in range(51 - expected[1] + 1)
        if (FRAME[top : top + expected[0], left : left + expected[1]] == found[0]).all()
    ]
    assert len(places) == 1


def test_pieces_come_from_everywhere() -> None:
    rows, columns = np.mgrid[:37, :51]
    where = np.stack([rows, columns, rows], -1).astype(np.uint8)
    rng = np.random.default_rng(0)
    corners = {tuple(cropped((where,), 32, rng, None)[0][0, 0, :2]) for _ in range(600)}
    # 6 rows by 20 columns
    assert len(corners) > 100
    assert {top for top, _ in corners} == set(range(6))


def test_graph_of_one_size_gets_the_middle() -> None:
    (found,) = cropped((FRAME,), 512, np.random.default_rng(0), (17, 31))
    assert (found == FRAME[10:27, 10:41]).all()


def test_frames_smaller_than_a_graph_is_fixed_to_are_refused() -> None:
    with pytest.raises(ModelFileError, match="fixed to frames of 64x64, those to calibrate on are 37x51"):
        cropped((FRAME,), 512, np.random.default_rng(0), (64, 64))
