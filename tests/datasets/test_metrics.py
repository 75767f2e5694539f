from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import rgb2ycbcr
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from deblurrt.core.errors import ContractError
from deblurrt.datasets.metrics import luminance, mse, psnr, psnr_y, ssim, ssim_y

Pixels = NDArray[np.uint8]

#: the agreement asked for; both sides compute in float64
SAME = 1e-6


def degraded(pixels: Pixels, levels: float) -> Pixels:
    noise = np.random.default_rng(2).normal(0, levels, pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def reference_ssim(restored: Pixels, sharp: Pixels) -> float:
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    value = structural_similarity(sharp, restored, data_range=255, channel_axis=2, **options)  # type: ignore[no-untyped-call]
    return float(value)


@pytest.mark.parametrize("levels", [0.6, 5.0, 40.0])
def test_psnr_and_mse_equal_scikit_image(photograph: Pixels, levels: float) -> None:
    restored = degraded(photograph, levels)
    expected = peak_signal_noise_ratio(photograph, restored)  # type: ignore[no-untyped-call]
    assert psnr(restored, photograph) == pytest.approx(expected, abs=SAME)
    assert mse(restored, photograph) == pytest.approx(mean_squared_error(photograph, restored), abs=SAME)


@pytest.mark.parametrize("levels", [0.6, 5.0, 40.0])
@pytest.mark.parametrize("size", [(200, 280), (11, 11), (37, 12)])
def test_ssim_equals_scikit_image(photograph: Pixels, levels: float, size: tuple[int, int]) -> None:
    sharp = photograph[: size[0], : size[1]]
    restored = degraded(sharp, levels)
    assert ssim(restored, sharp) == pytest.approx(reference_ssim(restored, sharp), abs=SAME)


def test_ssim_of_random_pictures_equals_scikit_image() -> None:
    first, second = np.random.default_rng(3).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    assert ssim(first, second) == pytest.approx(reference_ssim(first, second), abs=SAME)


def test_luminance_is_that_of_studio_range() -> None:
    corners = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.uint8)
    np.testing.assert_allclose(luminance(corners), [[16, 235, 81.481]], atol=1e-12)


def test_luminance_equals_scikit_image(photograph: Pixels) -> None:
    expected = rgb2ycbcr(photograph)[..., 0]
    np.testing.assert_allclose(luminance(photograph), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("levels", [0.6, 5.0, 40.0])
def test_scores_of_the_luminance_equal_scikit_image(photograph: Pixels, levels: float) -> None:
    restored = degraded(photograph, levels)
    sharp_y, restored_y = (rgb2ycbcr(pixels)[..., 0] for pixels in (photograph, restored))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    db = peak_signal_noise_ratio(sharp_y, restored_y, data_range=255)  # type: ignore[no-untyped-call]
    assert psnr_y(restored, photograph) == pytest.approx(db, abs=SAME)
    expected = structural_similarity(sharp_y, restored_y, **options)  # type: ignore[no-untyped-call]
    assert ssim_y(restored, photograph) == pytest.approx(float(expected), abs=SAME)


def test_change_of_colour_alone_leaves_the_luminance_nearly_exact(photograph: Pixels) -> None:
    assert math.isinf(psnr_y(photograph, photograph))
    assert ssim_y(photograph, photograph) == pytest.approx(1.0, abs=SAME)
    bluer = photograph.copy()
    bluer[..., 2] = np.clip(photograph[..., 2].astype(int) + 20, 0, 255)
    # blue weighs 25/255 in the luminance and a third in the mean over the channels: 15.4 dB apart
    apart_db = 20 * math.log10(255 / 24.966) - 10 * math.log10(3)
    assert psnr_y(bluer, photograph) - psnr(bluer, photograph) == pytest.approx(apart_db, abs=1e-9)


def test_identical_pictures_have_infinite_psnr_and_ssim_one(photograph: Pixels) -> None:
    assert math.isinf(psnr(photograph, photograph))
    assert mse(photograph, photograph) == 0.0
    assert ssim(photograph, photograph) == pytest.approx(1.0, abs=SAME)


def test_black_against_white_does_not_wrap_around() -> None:
    black = np.zeros((12, 12, 3), np.uint8)
    assert mse(black, ~black) == 255**2
    assert psnr(~black, black) == 0.0


@pytest.mark.parametrize("metric", [mse, psnr, ssim, psnr_y, ssim_y])
def test_pictures_of_two_sizes_are_refused(photograph: Pixels, metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ContractError, match="'restored' is 199x280, 'sharp' is 200x280"):
        metric(photograph[1:], photograph)


@pytest.mark.parametrize(
    "wrong", [np.zeros((20, 20), np.uint8), np.zeros((20, 20, 3)), np.zeros((20, 20, 4), np.uint8)]
)
def test_anything_but_8_bit_rgb_is_refused(wrong: Pixels) -> None:
    with pytest.raises(ContractError, match="expected uint8"):
        psnr(wrong, wrong)


@pytest.mark.parametrize("metric", [ssim, ssim_y])
def test_ssim_refuses_pictures_smaller_than_its_window(photograph: Pixels, metric: Callable[..., float]) -> None:
    with pytest.raises(ContractError, match="10x40, SSIM needs at least 11x11"):
        metric(photograph[:10, :40], photograph[:10, :40])
