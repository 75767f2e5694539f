"""Decibels, similarity and edges, against the same computed by hand; the frames that lost most."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from deblurrt.calibration.clips import Shot
from deblurrt.calibration.graph_sessions import Restore
from deblurrt.calibration.quality import Judge, lost_without_truth, unit_mse
from deblurrt.core.pictures import Pixels
from deblurrt.datasets.metrics import ssim

SIZE = (24, 32)


def picture(seed: int) -> Pixels:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    waves = [120 + 60 * np.sin(rows / (3 + seed) + channel) * np.cos(columns / 4) for channel in range(3)]
    return np.stack(waves, -1).astype(np.uint8)


def psnr_by_hand(first: Pixels, second: Pixels) -> float:
    total = 0.0
    for one, other in zip(first.reshape(-1).tolist(), second.reshape(-1).tolist(), strict=True):
        total += ((one - other) / 255) ** 2
    return 10 * math.log10(first.size / total)


def shifted(pixels: Pixels, levels: int) -> Pixels:
    return (pixels.astype(int) + levels).astype(np.uint8)


def shots(*, has_truth: bool) -> list[Shot]:
    return [
        Shot(f"clip/{index}", (picture(index),), shifted(picture(index), 5) if has_truth else None)
        for index in range(3)
    ]


def restore_by(levels: int) -> Restore:
    return lambda window: shifted(window[0], levels)


def test_decibels_with_truth_are_those_of_both_scores() -> None:
    judge = Judge.of(restore_by(3), shots(has_truth=True))
    after = restore_by(1)
    quality = judge.quality(after)
    for frame, shot in zip(quality.frames, judge.shots, strict=True):
        assert shot.sharp is not None
        before_db = psnr_by_hand(shifted(shot.pixels, 3), shot.sharp)
        after_db = psnr_by_hand(shifted(shot.pixels, 1), shot.sharp)
        assert frame.psnr_float_db == pytest.approx(before_db)
        assert frame.psnr_db == pytest.approx(after_db)
        assert frame.lost_db == pytest.approx(before_db - after_db)
        assert frame.ssim_float == ssim(shifted(shot.pixels, 3), shot.sharp)
        assert frame.ssim == ssim(shifted(shot.pixels, 1), shot.sharp)
        assert frame.mse == pytest.approx((2 / 255) ** 2)
    # the sharp picture is 5 levels away: float is off by 2, quantised by 4
    assert quality.lost_db == pytest.approx(20 * math.log10(2))
    assert judge.lost_db(after) == quality.lost_db
    assert (quality.has_truth, quality.against) == (True, "sharp pictures")


def test_decibels_without_truth_are_those_against_a_float_result_of_30_db() -> None:
    judge = Judge.of(restore_by(0), shots(has_truth=False))
    quality = judge.quality(restore_by(2))
    # 30 dB are a squared error of 0.001; what the quantised network errs more comes on top
    expected = 30 + 10 * math.log10(0.001 + (2 / 255) ** 2)
    assert quality.lost_db == pytest.approx(expected)
    assert lost_without_truth((2 / 255) ** 2) == pytest.approx(expected)
    assert quality.mean("psnr_db") is None
    assert quality.against == "a float result of 30 dB"


def test_equal_results_lose_nothing() -> None:
    for has_truth in (True, False):
        judge = Judge.of(restore_by(0), shots(has_truth=has_truth))
        assert judge.lost_db(restore_by(0)) == 0


def test_result_equal_to_the_truth_has_a_score_that_is_a_number() -> None:
    shot = Shot("a", (picture(0),), picture(0))
    judge = Judge.of(restore_by(0), [shot])
    quality = judge.quality(restore_by(1))
    assert quality.frames[0].psnr_float_db == 100
    assert quality.lost_db == pytest.approx(100 - psnr_by_hand(shifted(picture(0), 1), picture(0)))


def test_edges_are_those_of_the_float_result() -> None:
    step = np.zeros((*SIZE, 3), np.uint8)
    step[:, 16:] = 200
    judge = Judge.of(restore_by(0), [Shot("step", (step,))])
    softer = step.copy()
    softer[:, 15], softer[:, 16] = 66, 133
    found = judge.quality(lambda _window: softer).frames[0]
    # half a step to either side, 100 levels; softened, a third of it at the same places; luminance has 219 of 255
    assert found.edges_float == pytest.approx(100 * 219 / 255)
    assert found.edges == pytest.approx((66.5 + 67) / 2 * 219 / 255)


def test_mean_is_unknown_where_one_frame_has_no_truth() -> None:
    judge = Judge.of(restore_by(0), [*shots(has_truth=True)[:2], *shots(has_truth=False)[2:]])
    quality = judge.quality(restore_by(1))
    assert not quality.has_truth
    assert quality.mean("psnr_db") is None
    assert quality.mean("mse") == pytest.approx((1 / 255) ** 2)


def test_json_has_the_loss_first_and_every_frame() -> None:
    judge = Judge.of(restore_by(0), shots(has_truth=True))
    values = judge.quality(restore_by(-1)).to_dict()
    assert list(values)[:2] == ["lost_db", "against"]
    assert [frame["name"] for frame in values["frames"]] == ["clip/0", "clip/1", "clip/2"]
    assert values["lost_db"] == pytest.approx(sum(frame["lost_db"] for frame in values["frames"]) / 3)
    assert json.loads(json.dumps(values)) == values


def test_squared_error_is_of_values_from_0_to_1() -> None:
    assert unit_mse(np.full((2, 2, 3), 255, np.uint8), np.zeros((2, 2, 3), np.uint8)) == 1.0
