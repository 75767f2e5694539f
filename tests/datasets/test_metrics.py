from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from deblurrt.core.errors import ContractError
from deblurrt.datasets.metrics import mse, psnr, ssim

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


def test_identical_pictures_have_infinite_psnr_and_ssim_one(photograph: Pixels) -> None:
    assert math.isinf(psnr(photograph, photograph))
    assert mse(photograph, photograph) == 0.0
    assert ssim(photograph, photograph) == pytest.approx(1.0, abs=SAME)


def test_black_against_white_does_not_wrap_around() -> None:
    black = np.zeros((12, 12, 3), np.uint8)
    assert mse(black, ~black) == 255**2
    assert psnr(~black, black) == 0.0


@pytest.mark.parametrize("metric", [mse, psnr, ssim])
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


def test_ssim_refuses_pictures_smaller_than_its_window(photograph: Pixels) -> None:
    with pytest.raises(ContractError, match="10x40, SSIM needs at least 11x11"):
        ssim(photograph[:10, :40], photograph[:10, :40])
