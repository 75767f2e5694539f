from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import ContractError, QualityError, SourceError
from deblurrt.core.pictures import Pixels, write_picture
from deblurrt.core.tensors import Array
from deblurrt.datasets.metrics import psnr, ssim
from deblurrt.export.parity import (
    FLAT_SHARE,
    FP16_GATE,
    FP32_GATE,
    ParityGate,
    compare_arrays,
    compare_stage,
    judge,
    parity_report,
    read_windows,
    sample_frames,
    sample_windows,
)

SIZES = [(40, 56), (33, 47)]
FLOAT = FrameContract(io="float")


@pytest.fixture
def floats() -> Array:
    return sample_frames(FLOAT, [(24, 40)])[0]


@pytest.fixture
def picture() -> Pixels:
    return sample_windows(1, [(24, 40)])[0][0]


def test_equal_arrays_are_exact(floats: Array) -> None:
    parity = compare_arrays(floats, floats.copy())
    assert (parity.psnr_db, parity.max_abs, parity.mean_abs, parity.non_finite) == (100.0, 0.0, 0.0, 0)
    assert (parity.size, parity.largest, parity.is_rounded) == ((24, 40), float(floats.max()), False)
    assert parity.ssim == pytest.approx(1)


def test_floats_are_measured_against_a_peak_of_one(floats: Array) -> None:
    parity = compare_arrays(floats, floats + np.float32(0.01))
    assert parity.psnr_db == pytest.approx(40, abs=1e-4)
    assert [parity.max_abs, parity.mean_abs] == pytest.approx([0.01, 0.01], rel=1e-5)


def test_peak_may_be_another(floats: Array) -> None:
    assert compare_arrays(floats * 255, floats * 255 + 2.55, peak=255.0).psnr_db == pytest.approx(40, abs=1e-4)


def test_bytes_are_measured_as_eval_measures_pictures(picture: Pixels) -> None:
    other = picture[::-1].copy()
    parity = compare_arrays(picture[None], other[None])
    assert parity.psnr_db == pytest.approx(psnr(other, picture), rel=1e-12)
    assert parity.ssim == pytest.approx(ssim(other, picture), rel=1e-12)
    assert (parity.size, parity.is_rounded) == ((24, 40), True)
    assert parity.max_abs == np.abs(picture.astype(int) - other).max()


def test_ssim_of_floats_is_that_of_their_rounded_pictures(floats: Array, picture: Pixels) -> None:
    darker = np.rint(picture * 0.9).astype(np.uint8)
    as_float = (darker.astype(np.float32) / 255).transpose(2, 0, 1)[None]
    assert compare_arrays(floats, as_float).ssim == pytest.approx(ssim(darker, picture), rel=1e-12)


@pytest.mark.parametrize("shape", [(1, 3, 10, 40), (1, 4, 24, 40), (24, 40)])
def test_ssim_is_not_measured_where_there_is_no_large_picture(shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, np.float32)
    assert compare_arrays(array, array).ssim is None


def test_values_that_are_not_finite_are_counted_and_left_out(floats: Array) -> None:
    other = floats.copy()
    other[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    parity = compare_arrays(floats, other)
    assert (parity.non_finite, parity.max_abs, parity.psnr_db) == (3, 0.0, 100.0)
    nothing = compare_arrays(floats, np.full_like(floats, np.nan))
    assert (nothing.non_finite, nothing.max_abs, nothing.psnr_db) == (floats.size, np.inf, 0.0)


@pytest.mark.parametrize(
    "other", [np.zeros((1, 3, 24, 41), np.float32), np.zeros((1, 3, 24, 40), np.uint8)], ids=["shape", "type"]
)
def test_arrays_that_cannot_be_compared_are_refused(floats: Array, other: Array) -> None:
    with pytest.raises(ContractError, match=r"the arrays are float32\[1, 3, 24, 40\] and "):
        compare_arrays(floats, other)


def test_result_is_plain_json_with_the_psnr_first(floats: Array) -> None:
    plain = json.loads(json.dumps(compare_arrays(floats, floats).to_dict()))
    assert next(iter(plain)) == "psnr_db"
    assert plain["size"] == [24, 40]
    nothing = compare_arrays(floats, np.full_like(floats, np.nan)).to_dict()
    assert json.loads(json.dumps(nothing, allow_nan=False))["max_abs"] is None


@pytest.mark.parametrize(("factor", "passes"), [(0.9, True), (1.1, False)])
@pytest.mark.parametrize("largest", [0.5, 40.0])
def test_fp32_gate_is_relative_to_values_above_one(factor: float, passes: bool, largest: float) -> None:
    reference = np.full((1, 3, 4, 4), largest)
    other = reference + factor * 1e-4 * max(1, largest)
    assert (FP32_GATE.failure(compare_arrays(reference, other)) is None) == passes


def test_fp16_gate_wants_60_db(floats: Array) -> None:
    assert FP16_GATE.failure(compare_arrays(floats, floats.astype(np.float16))) is None
    failure = FP16_GATE.failure(compare_arrays(floats, floats + np.float32(0.0011)))
    assert failure == "PSNR is 59.17 dB, wanted at least 60"


def test_rounding_ties_pass_the_fp32_gate_and_more_does_not(picture: Pixels) -> None:
    few, many = picture.copy(), picture.copy()
    few.flat[:2] ^= 1
    many.flat[:6] ^= 1
    assert FP32_GATE.failure(compare_arrays(picture, few)) is None
    assert FP32_GATE.failure(compare_arrays(picture, many)) is not None


def test_value_that_is_not_finite_passes_no_gate(floats: Array) -> None:
    other = floats.copy()
    other[0, 0, 0, 0] = np.inf
    assert ParityGate().failure(compare_arrays(floats, other)) == "1 values are not finite, wanted none"
    assert ParityGate().failure(compare_arrays(floats, floats)) is None


def half(array: Array) -> Array:
    return array * np.float32(0.5)


def test_stage_compares_every_frame() -> None:
    stage = compare_stage("pytorch->onnx", half, lambda array: array / 2, sample_frames(FLOAT, SIZES))
    assert [parity.size for parity in stage.results] == SIZES
    assert stage.is_passed
    judge(stage)


def test_reference_may_reuse_its_memory() -> None:
    memory = np.empty((1, 3, 8, 8), np.float32)

    def reuse(array: Array) -> Array:
        memory[:] = array.mean()
        return memory

    frames = sample_frames(FLOAT, [(8, 8)])
    stage = compare_stage("typed->lowered", reuse, lambda array: reuse(array * 2), frames)
    assert not stage.is_passed


def test_missed_gate_names_stage_size_got_and_wanted() -> None:
    def worse_below(array: Array) -> Array:
        return half(array) + np.float32(0 if array.shape[2] == 40 else 0.01)

    stage = compare_stage("onnx->typed", half, worse_below, sample_frames(FLOAT, SIZES))
    with pytest.raises(QualityError) as caught:
        judge(stage)
    assert str(caught.value) == (
        "onnx->typed changes the result at 33x47: the largest difference is 0.01, wanted at most 0.0001"
    )


def test_report_lists_stages_with_sizes_and_values() -> None:
    frames = sample_frames(FLOAT, SIZES)
    stages = [
        compare_stage("pytorch->onnx", half, half, frames),
        compare_stage("onnx->typed", half, np.negative, frames, FP16_GATE),
    ]
    report = json.loads(json.dumps(parity_report(stages)))
    assert report["passed"] is False
    assert [(stage["stage"], stage["passed"]) for stage in report["stages"]] == [
        ("pytorch->onnx", True),
        ("onnx->typed", False),
    ]
    assert report["stages"][1]["gate"] == {"max_abs_relative": None, "psnr_min_db": 60.0}
    assert [size["size"] for size in report["stages"][0]["sizes"]] == [list(size) for size in SIZES]


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("peak", [1, 255])
def test_float_frames_are_what_the_runtime_prepares(window: int, peak: int) -> None:
    unit = "0..1" if peak == 1 else "0..255"
    contract = FrameContract(io="float", window=window, multiple=8, range="0..1" if unit == "0..1" else "0..255")
    frame = sample_frames(contract, [(33, 47)])[0]
    assert frame.shape == (1, 3 * window, 40, 48)
    assert frame.dtype == np.float32
    assert 0 <= frame.min() < 0.3 * peak < 0.7 * peak < frame.max() <= peak


@pytest.mark.parametrize(("window", "shape"), [(1, (1, 33, 47, 3)), (3, (1, 3, 33, 47, 3))])
def test_byte_frames_are_pictures(window: int, shape: tuple[int, ...]) -> None:
    frame = sample_frames(FrameContract(window=window, multiple=8, min_size=8), [(33, 47)])[0]
    assert frame.shape == shape
    assert frame.dtype == np.uint8


def test_scenes_are_the_same_for_one_seed_and_differ_for_others() -> None:
    first, again, other = (sample_windows(3, SIZES, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(one, same) for one, same in zip(first, again, strict=True))
    assert not any(np.array_equal(one, same) for one, same in zip(first, other, strict=True))


def test_scenes_are_smooth_and_not_noise() -> None:
    pixels = sample_windows(1, [(128, 160)])[0][0].astype(float)
    neighbours = np.corrcoef(pixels[:, :-1].ravel(), pixels[:, 1:].ravel())[0, 1]
    assert 0.8 < neighbours < 0.999
    assert pixels.std() > 20


def test_scene_has_a_black_and_a_white_corner() -> None:
    (pixels,) = sample_windows(1, [(60, 90)])[0]
    assert not pixels[:10, :15].any()
    assert (pixels[:10, -15:] == 255).all()
    assert 0 < pixels[10:].mean() < 255


def test_scene_moves_from_frame_to_frame() -> None:
    below = slice(64 // FLAT_SHARE + 1, None)
    # without the flat corners, which lie in the rows above and stay where they are
    previous, current, following = (pixels[below] for pixels in sample_windows(3, [(64, 64)])[0])
    assert np.mean(previous != current) > 0.5
    # two steps of 3 rows and -4.5 columns: what is left is the noise of both, 2.6 grey levels each
    moved = np.abs(previous[6:, :-9].astype(int) - following[:-6, 9:]).mean()
    assert 1 < moved < 5 < np.abs(previous.astype(int) - following).mean()


def write_folder(folder: Path, sizes: list[tuple[int, int]]) -> list[Pixels]:
    pictures = [window[0] for window in sample_windows(1, sizes)]
    for index, pixels in enumerate(pictures):
        write_picture(folder / f"{index}.png", pixels)
    return pictures


def test_windows_of_a_folder_are_consecutive_frames(tmp_path: Path) -> None:
    pictures = write_folder(tmp_path, [(16, 24)] * 4)
    windows = list(read_windows(tmp_path, 3, 3))
    expected = [(0, 0, 1), (0, 1, 2), (1, 2, 3)]
    for window, indices in zip(windows, expected, strict=True):
        assert all(np.array_equal(got, pictures[index]) for got, index in zip(window, indices, strict=True))


def test_last_frame_and_changes_of_size_repeat_the_frame(tmp_path: Path) -> None:
    pictures = write_folder(tmp_path, [(16, 24), (16, 24), (20, 24)])
    windows = list(read_windows(tmp_path, 3, 8))
    expected = [(0, 0, 1), (0, 1, 1), (2, 2, 2)]
    for window, indices in zip(windows, expected, strict=True):
        assert all(np.array_equal(got, pictures[index]) for got, index in zip(window, indices, strict=True))


def test_single_picture_is_one_frame(tmp_path: Path) -> None:
    pictures = write_folder(tmp_path, [(16, 24)])
    windows = list(read_windows(tmp_path / "0.png", 1, 8))
    assert [len(window) for window in windows] == [1]
    assert np.array_equal(windows[0][0], pictures[0])


def test_place_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        list(read_windows(tmp_path / "none.mp4", 1, 8))
