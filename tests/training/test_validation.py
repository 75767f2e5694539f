from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deblurrt.core.pictures import read_picture
from deblurrt.models.student import Student
from deblurrt.models.student_config import StudentConfig
from deblurrt.training.material import find_material
from deblurrt.training.validation import gain_db, validation_pairs


def test_kept_out_pairs_and_an_averaged_frame_are_judged(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deblurrt.training.validation.SMALLEST_PX", 64)
    pairs = {name: (blurred, sharp) for name, blurred, sharp in validation_pairs(find_material([data]))}
    assert set(pairs) == {"street", "walk/0005", "walk/0006", "averaged/clip/0007"}
    np.testing.assert_array_equal(pairs["averaged/clip/0007"][1], read_picture(data / "clip" / "0007.png"))
    np.testing.assert_array_equal(pairs["walk/0005"][0], read_picture(data / "walk" / "blur" / "0005.png"))


def test_small_clips_are_not_judged_on(data: Path) -> None:
    names = [name for name, _, _ in validation_pairs(find_material([data]))]
    assert not [name for name in names if name.startswith("averaged")]


@pytest.fixture
def untouching() -> Student:
    return Student(StudentConfig(2, (8, 16), (1, 1), (1,)), tail_gain=0.0).eval()


@torch.no_grad()
def test_network_that_does_nothing_gains_nothing(untouching: Student) -> None:
    blurred, sharp = np.random.default_rng(0).integers(0, 256, (2, 30, 33, 3), dtype=np.uint8)
    assert gain_db(untouching, blurred, sharp) == 0.0


@torch.no_grad()
def test_still_scene_gains_nothing_and_does_not_fail(untouching: Student) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert gain_db(untouching, picture, picture) == 0.0


@torch.no_grad()
def test_gain_is_the_psnr_gained(untouching: Student) -> None:
    # a correction by one level everywhere, where the truth is two levels away: 20 log10(2) dB
    torch.nn.init.constant_(untouching.tail.bias, 1 / 255)  # type: ignore[arg-type]
    blurred = np.full((16, 18, 3), 100, np.uint8)
    assert gain_db(untouching, blurred, blurred + np.uint8(2)) == pytest.approx(6.0206, abs=1e-4)
