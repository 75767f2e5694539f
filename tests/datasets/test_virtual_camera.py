from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.core.errors import ContractError
from deblurrt.datasets import opencv
from deblurrt.datasets.linear_light import code_from_linear, linear_from_code
from deblurrt.datasets.virtual_camera import CameraPath, VirtualCamera

Pixels = NDArray[np.uint8]

VIEW = (120, 180)
#: the photograph `make demo` films and the size it films it at
DEMO_PHOTOGRAPH, DEMO_VIEW = (500, 741), (360, 640)
SEEDS = range(4)


def test_film_gives_pairs_of_the_asked_size(photograph: Pixels) -> None:
    pairs = list(VirtualCamera(VIEW).film(photograph, 3))
    assert len(pairs) == 3
    assert {picture.shape for pair in pairs for picture in pair} == {(*VIEW, 3)}
    assert {picture.dtype for pair in pairs for picture in pair} == {np.dtype(np.uint8)}


def test_longer_film_begins_like_the_shorter_one(photograph: Pixels) -> None:
    short, long = (list(VirtualCamera(VIEW, seed=3).film(photograph, frames)) for frames in (1, 2))
    np.testing.assert_array_equal(short[0], long[0])


def test_another_seed_takes_another_path(photograph: Pixels) -> None:
    first, second = (next(VirtualCamera(VIEW, seed=seed).film(photograph, 1)) for seed in (0, 1))
    assert (first[1] != second[1]).any()


def test_open_shutter_removes_detail_from_each_frame(photograph: Pixels) -> None:
    for blurred, sharp in VirtualCamera(VIEW).film(photograph, 5):
        assert np.diff(blurred.astype(int), axis=1).var() < np.diff(sharp.astype(int), axis=1).var()


@pytest.mark.parametrize("exposure", [0.4, 1.0])
def test_frame_is_the_mean_light_of_all_views_of_its_exposure(photograph: Pixels, exposure: float) -> None:
    camera = VirtualCamera(VIEW, frame_rate=20.0, exposure=exposure)
    path, light = CameraPath(camera, (200, 280)), linear_from_code(photograph)
    blurred, sharp = next(camera.film(photograph, 1))
    times_s = 0.025 + 0.05 * exposure * np.linspace(-0.5, 0.5, 200)
    views = [opencv.warp_perspective(light, path.view(float(time_s)), VIEW) for time_s in times_s]
    # the camera averages moments a pixel apart, which differs from the integral by a level or two
    assert np.abs(blurred.astype(int) - code_from_linear(np.mean(views, axis=0))).mean() < 1
    middle = opencv.warp_perspective(light, path.view(0.025), VIEW)
    np.testing.assert_array_equal(sharp, code_from_linear(middle))


def test_shutter_open_for_no_time_gives_the_sharp_twin(photograph: Pixels) -> None:
    for blurred, sharp in VirtualCamera(VIEW, exposure=1e-9).film(photograph, 2):
        # the mean of equal floats may round to the neighbouring code
        assert np.abs(blurred.astype(int) - sharp).max() <= 1


def test_wall_of_one_colour_stays_as_it_is() -> None:
    wall = np.full((200, 280, 3), (200, 120, 60), np.uint8)
    for blurred, sharp in VirtualCamera(VIEW).film(wall, 2):
        assert (blurred == wall[0, 0]).all()
        assert (sharp == wall[0, 0]).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_camera_never_looks_outside_the_photograph(seed: int) -> None:
    path = CameraPath(VirtualCamera(DEMO_VIEW, seed=seed), DEMO_PHOTOGRAPH)
    height, width = DEMO_VIEW
    corners = np.array([[x, y, 1.0] for x in (0, width - 1) for y in (0, height - 1)])
    seen = np.concatenate([corners @ path.view(time_s).T for time_s in np.arange(0, 60, 0.02)])
    places = seen[:, :2] / seen[:, 2:]
    assert places.min() >= 0
    assert (places.max(axis=0) <= [DEMO_PHOTOGRAPH[1] - 1, DEMO_PHOTOGRAPH[0] - 1]).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_blur_is_typically_5_to_20_px_with_calmer_moments(seed: int) -> None:
    path = CameraPath(VirtualCamera(DEMO_VIEW, seed=seed), DEMO_PHOTOGRAPH)
    lengths = [path.travelled_px((frame + 0.5) / 30, 0.8 / 30) for frame in range(900)]
    assert np.mean(lengths) == pytest.approx(400 * 0.8 / 30, rel=0.05)
    assert np.mean([5 <= length <= 20 for length in lengths]) > 0.7
    assert min(lengths) < 4
    assert max(lengths) < 35


def test_streaks_are_nearly_straight() -> None:
    straightness = []
    path = CameraPath(VirtualCamera(DEMO_VIEW), DEMO_PHOTOGRAPH)
    for frame in range(300):
        middle_s, open_s = (frame + 0.5) / 30, 0.8 / 30
        start, end = (path.view(middle_s + side * open_s / 2) @ [319.5, 179.5, 1] for side in (-1, 1))
        chord = np.hypot(*(end / end[2] - start / start[2])[:2])
        if path.travelled_px(middle_s, open_s) > 8:
            straightness.append(chord / path.travelled_px(middle_s, open_s))
    assert min(straightness) > 0.75
    assert np.median(straightness) > 0.98


def test_photograph_without_room_is_refused(photograph: Pixels) -> None:
    with pytest.raises(ContractError, match=r"the photograph is 200x280, too small .* 190x270"):
        VirtualCamera((190, 270)).film(photograph, 1)


@pytest.mark.parametrize("exposure", [0.0, -0.1, 1.1, float("nan")])
def test_impossible_exposure_is_refused(exposure: float) -> None:
    with pytest.raises(ContractError, match="exposure is"):
        VirtualCamera(exposure=exposure)


def test_impossible_frame_rate_is_refused() -> None:
    with pytest.raises(ContractError, match=r"frame_rate is 0\.0"):
        VirtualCamera(frame_rate=0.0)
