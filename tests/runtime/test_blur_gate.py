from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.runtime.blur_gate import DWELL_FRAMES, BlurGate, blur_score, is_noisy, reduced
from deblurrt.runtime.frame import Pixels

SIZE = (180, 240)


def scene(blur_px: int, axis: int = 1, seed: int = 0) -> Pixels:
    """Random rectangles, blurred by motion along ``axis``."""
    rng = np.random.default_rng(seed)
    picture = np.full(SIZE, 128.0)
    for _ in range(150):
        top, left = rng.integers(0, SIZE[0]), rng.integers(0, SIZE[1])
        height, width = rng.integers(4, 40, 2)
        picture[top : top + height, left : left + width] = rng.integers(20, 235)
    if blur_px > 1:
        shifted = [np.roll(picture, shift, axis) for shift in range(blur_px)]
        picture = np.mean(shifted, axis=0)
    return np.repeat(picture[..., None], 3, axis=2).astype(np.uint8)


def score(pixels: Pixels) -> float:
    return blur_score(reduced(pixels))


@pytest.mark.parametrize("axis", [0, 1])
def test_score_grows_with_blur(axis: int) -> None:
    scores = [score(scene(blur_px, axis)) for blur_px in (1, 12, 24, 48)]
    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 0.1


def test_score_is_the_same_in_the_dark() -> None:
    bright = scene(16)
    assert score(bright // 4) == pytest.approx(score(bright), abs=0.02)


def noisy(pixels: Pixels, sigma: float) -> Pixels:
    noise: NDArray[np.float64] = np.random.default_rng(1).normal(0, sigma, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def test_noise_is_noticed() -> None:
    assert not is_noisy(scene(1))
    assert not is_noisy(noisy(scene(1), 2))
    assert is_noisy(noisy(scene(30), 10))


class Scores:
    """Scores one after the other instead of measured ones."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.next = 0.0
        monkeypatch.setattr("deblurrt.runtime.blur_gate.blur_score", lambda _plane: self.next)


def test_gate_changes_after_frames_that_agree_and_keeps_to_it_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, gate, pixels = Scores(monkeypatch), BlurGate(), scene(1)
    scores.next = 0.1
    assert [gate.judge(pixels) for _ in range(DWELL_FRAMES)] == [False] * (DWELL_FRAMES - 1) + [True]
    scores.next = 0.265  # neither sharp nor blurred
    assert all(gate.judge(pixels) for _ in range(20))
    scores.next = 0.5
    assert [gate.judge(pixels) for _ in range(DWELL_FRAMES)] == [True] * (DWELL_FRAMES - 1) + [False]
    scores.next = 0.265
    assert not any(gate.judge(pixels) for _ in range(20))


def test_noisy_frames_are_never_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Scores(monkeypatch)
    gate = BlurGate()
    assert not any(gate.judge(noisy(scene(1), 20)) for _ in range(20))


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (11, 11), (43, 43), (44, 45)])
def test_pictures_of_any_size_can_be_judged(size: tuple[int, int]) -> None:
    gate = BlurGate()
    assert not any(gate.judge(np.zeros((*size, 3), np.uint8)) for _ in range(DWELL_FRAMES + 1))
