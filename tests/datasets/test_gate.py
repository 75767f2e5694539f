from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.core.errors import ContractError
from deblurrt.datasets import opencv
from deblurrt.datasets.gate import (
    BANDS,
    UNSHARP_MASKS,
    Criterion,
    Frame,
    GateReport,
    best_linear,
    coherence,
    judge_sequence,
    overshoot,
    unsharp,
)
from deblurrt.datasets.metrics import psnr
from deblurrt.datasets.motion_blur import line_kernel

Pixels = NDArray[np.uint8]

#: a filter that is the same everywhere leaves coherence alone but for windows' edges and rounding
COHERENCE_LEFT_ALONE = 0.02


def mixed(first: Pixels, second: Pixels, share: float) -> Pixels:
    return np.rint(share * first.astype(float) + (1 - share) * second).astype(np.uint8)


@pytest.fixture(scope="module")
def blurred(photograph: Pixels) -> Pixels:
    """The photograph seen by two cameras at once: no single filter undoes this."""
    values = photograph.astype(np.float32)
    left, right = (opencv.filter_with(values, line_kernel(length, angle)) for length, angle in ((15, 0.3), (15, 1.9)))
    rows, columns = np.mgrid[:200, :280]
    one = ((rows // 20 + columns // 20) % 2)[..., None]
    return np.rint(np.where(one, left, right)).astype(np.uint8)


def passing_report(frames: list[Frame]) -> GateReport:
    return judge_sequence("walk", frames, 1.0)


def test_real_deblurring_passes_every_criterion(photograph: Pixels, blurred: Pixels) -> None:
    report = passing_report([(blurred, mixed(photograph, blurred, 0.5), photograph)])
    assert [criterion.name for criterion in report.criteria if not criterion.passed] == []
    assert report.passed


def test_input_left_as_it_is_does_not_pass(photograph: Pixels, blurred: Pixels) -> None:
    report = passing_report([(blurred, blurred, photograph)])
    assert report.gain_db == 0.0
    assert report.overshoot == 0.0
    assert report.coherence == report.coherence_input
    assert not report.passed


def test_unsharp_mask_neither_passes_nor_changes_coherence(photograph: Pixels, blurred: Pixels) -> None:
    report = passing_report([(blurred, unsharp(blurred, *UNSHARP_MASKS[0]), photograph)])
    assert report.gain_db == pytest.approx(report.unsharp_db[0])
    assert report.coherence[:3] == pytest.approx(report.coherence_input[:3], abs=COHERENCE_LEFT_ALONE)
    assert not report.passed


def test_best_linear_filter_beats_the_unsharp_masks(photograph: Pixels, blurred: Pixels) -> None:
    report = passing_report([(blurred, blurred, photograph)])
    assert report.oracle_db > max(report.unsharp_db)
    assert report.oracle_db > 0


def test_best_linear_filter_undoes_a_shift_and_a_change_of_brightness(photograph: Pixels) -> None:
    sharp = photograph[20:180, 20:260]
    changed = np.rint(photograph[23:183, 15:255] * 0.9 + 10).astype(np.uint8)
    restored = best_linear(changed, sharp)
    inside = (slice(8, -8), slice(8, -8))
    # moved by 3 and 5 px; rounding to whole levels twice leaves about 55 dB, the fading edges a little less
    assert psnr(restored[inside], sharp[inside]) > 45


def test_best_linear_filter_of_a_flat_picture_is_the_mean_of_its_truth(photograph: Pixels) -> None:
    flat = np.full_like(photograph, 90)
    assert (best_linear(flat, photograph) == np.rint(photograph.mean(axis=(0, 1)))).all()


def test_one_frame_that_loses_fails_the_sequence(photograph: Pixels, blurred: Pixels) -> None:
    good, bad = (blurred, mixed(photograph, blurred, 0.5), photograph), (blurred, 255 - blurred, photograph)
    report = passing_report([good, good, good, bad])
    smallest = report.criteria[0]
    assert (smallest.name, smallest.passed) == ("smallest gain of a frame, dB", False)


def test_halos_are_counted_as_overshoot(blurred: Pixels) -> None:
    halos = blurred.copy()
    halos[::10, ::10] = 255
    assert overshoot(blurred, halos) == pytest.approx(0.01, abs=1e-3)


def test_overshoot_up_to_8_levels_is_allowed() -> None:
    flat = np.full((70, 70, 3), 100, np.uint8)
    assert overshoot(flat, flat + np.uint8(8)) == 0.0
    assert overshoot(flat, flat - np.uint8(9)) == 1.0


def test_coherence_is_one_with_itself_and_low_with_noise(photograph: Pixels) -> None:
    noise = np.random.default_rng(0).integers(0, 256, photograph.shape, dtype=np.uint8)
    assert coherence(photograph, photograph) == pytest.approx([1.0] * len(BANDS), abs=1e-4)
    # half-overlapping windows: 35 of them bias the coherence of unrelated pictures by about 1/20
    assert max(coherence(noise, photograph)) < 0.15


def test_sharpness_is_relative_to_the_truth(photograph: Pixels, blurred: Pixels) -> None:
    report = passing_report([(blurred, photograph, photograph)])
    assert report.sharpness == pytest.approx(1.0)
    assert 0 < report.sharpness_input < 1


def test_sequence_means_are_means_of_its_frames(photograph: Pixels, blurred: Pixels) -> None:
    frames = [(blurred, mixed(photograph, blurred, share), photograph) for share in (0.3, 0.5)]
    both, first, second = passing_report(frames), passing_report(frames[:1]), passing_report(frames[1:])
    assert both.gains_db == (*first.gains_db, *second.gains_db)
    assert both.gain_db == pytest.approx((first.gain_db + second.gain_db) / 2)
    assert both.coherence[0] == pytest.approx((first.coherence[0] + second.coherence[0]) / 2)


def test_missed_target_fails_that_criterion_alone(photograph: Pixels, blurred: Pixels) -> None:
    report = replace(passing_report([(blurred, mixed(photograph, blurred, 0.5), photograph)]), target_db=90.0)
    assert [criterion.name for criterion in report.criteria if not criterion.passed] == ["mean gain, dB"]


def test_report_survives_json(photograph: Pixels, blurred: Pixels) -> None:
    report = passing_report([(blurred, mixed(photograph, blurred, 0.5), photograph)])
    read = json.loads(json.dumps(report.to_dict()))
    assert read["passed"] is True
    assert read["gain_db"] == report.gain_db
    assert len(read["criteria"]) == len(report.criteria)
    assert set(read["criteria"][0]) == {"name", "measured", "limit", "is_floor", "is_strict", "passed"}


@pytest.mark.parametrize(("measured", "is_floor", "is_strict", "passed"), [
    (1.0, True, False, True),
    (1.0, True, True, False),
    (0.9, True, False, False),
    (0.9, False, False, True),
    (1.1, False, False, False),
    (float("nan"), True, False, False),
])  # fmt: skip
def test_criterion_compares_with_its_limit(measured: float, is_floor: bool, is_strict: bool, passed: bool) -> None:
    assert Criterion("x", measured, 1.0, is_floor, is_strict).passed is passed


def test_sequence_without_frames_is_refused() -> None:
    with pytest.raises(ContractError, match="'walk' has no frames"):
        judge_sequence("walk", [], 1.0)


def test_input_equal_to_the_truth_is_refused(photograph: Pixels) -> None:
    with pytest.raises(ContractError, match="frame 0 of 'walk' equals its truth"):
        judge_sequence("walk", [(photograph, photograph, photograph)], 1.0)


def test_frames_smaller_than_a_window_are_refused(photograph: Pixels, blurred: Pixels) -> None:
    small = (slice(0, 60), slice(0, 100))
    with pytest.raises(ContractError, match="60x100, the gate needs at least 64x64"):
        judge_sequence("walk", [(blurred[small], blurred[small], photograph[small])], 1.0)
