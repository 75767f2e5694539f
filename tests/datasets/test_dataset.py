"""Choices of frames, crops, identity; and what doing nothing scores on real frames."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.core.errors import UsageError
from deblurrt.datasets import Dataset, Evaluation, ScoreConfig, SequenceScores, Track, open_dataset, score_pairs

Pixels = NDArray[np.uint8]
Put = Callable[..., None]


@pytest.fixture
def root(tmp_path: Path, put: Put) -> Path:
    """Twelve and three pairs."""
    for name, count in (("ride", 12), ("walk", 3)):
        for number in range(count):
            put(tmp_path / "data" / name / "blur" / f"{number:02d}.png")
            put(tmp_path / "data" / name / "sharp" / f"{number:02d}.png")
    return tmp_path / "data"


def names(dataset: Dataset) -> list[str]:
    return [pair.name for sequence in dataset for pair in sequence]


def test_length_is_that_of_the_scored_frames(root: Path) -> None:
    assert len(open_dataset(root)) == 15
    assert len(open_dataset(root).choose("every10")) == 3


def test_every_tenth_frame_of_each_sequence(root: Path) -> None:
    chosen = open_dataset(root).choose("every10")
    assert names(chosen) == ["ride/00", "ride/10", "walk/00"]
    assert chosen.notes == ("frames: every10, 3 of 15",)


def test_frames_whose_name_ends_in_9(root: Path) -> None:
    chosen = open_dataset(root).choose("ends9")
    assert names(chosen) == ["ride/09"]
    assert chosen.notes == ("frames: ends9, 1 of 15", "1 of 2 sequences have no such frame")
    assert len(chosen.sequences[0].pairs) == 12


def test_choice_that_leaves_nothing_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="none of the 3 frames is left by the choice 'ends9'; take --frames all"):
        open_dataset(root / "walk").choose("ends9")


def test_crop_is_noted_and_reaches_every_pair(root: Path) -> None:
    cropped = open_dataset(root).crop_to((8, 10))
    assert cropped.notes == ("pictures are cropped to their middle 8x10",)
    assert {pair.crop for sequence in cropped.sequences for pair in sequence.pairs} == {(8, 10)}


def test_fingerprint_stays_when_the_data_are_moved(root: Path, tmp_path: Path) -> None:
    before = open_dataset(root).fingerprint()
    shutil.move(root, tmp_path / "elsewhere")
    assert open_dataset(tmp_path / "elsewhere").fingerprint() == before


def test_fingerprint_knows_every_choice(root: Path) -> None:
    dataset = open_dataset(root)
    variants = [
        dataset,
        dataset.choose("every10"),
        dataset.crop_to((8, 8)),
        dataset.crop_to((8, 12)),
        open_dataset(root, "blur_jpeg"),
        open_dataset(root, "gaussian"),
        open_dataset(root, "gaussian", seed=1),
        open_dataset(root, "averaged", averaged_frames=3),
    ]
    assert len({variant.fingerprint() for variant in variants}) == len(variants)


def test_fingerprint_changes_with_a_file(root: Path, put: Put) -> None:
    before = open_dataset(root).fingerprint()
    put(root / "walk" / "blur" / "01.png", value=0)
    assert open_dataset(root).fingerprint() != before


def unchanged(pixels: Pixels, previous: Pixels | None, following: Pixels | None) -> Pixels:
    return pixels


@pytest.mark.data
@pytest.mark.parametrize(("track", "db"), [("blur", 21.95), ("blur_jpeg", 21.75), ("blur_bicubic_x4", 21.67)])
def test_doing_nothing_on_reds_scores_the_known_figure(data_root: Path, track: Track, db: float) -> None:
    dataset = open_dataset(data_root / "pairs" / "reds_seq000", track)
    config = ScoreConfig(with_neighbours=False, with_luminance=False)
    scored = [
        SequenceScores(sequence.name, {one.pair.name: one.scores for one in score_pairs(unchanged, sequence, config)})
        for sequence in dataset
    ]
    # the figures are known to two places; 0.05 dB leaves room for another JPEG library
    assert Evaluation(tuple(scored)).total.psnr_db == pytest.approx(db, abs=0.05)


@pytest.mark.data
def test_development_pairs_have_small_pictures_for_some_sequences(data_root: Path) -> None:
    dataset = open_dataset(data_root / "pairs", "blur_bicubic_x4")
    assert [(sequence.name, len(sequence)) for sequence in dataset] == [
        ("gopro_flower", 1),
        ("gopro_istanbul", 1),
        ("gopro_street", 1),
        ("reds_seq000", 10),
    ]
    assert any("made from blur" in note and "reds_seq000" not in note for note in dataset.notes)
    assert "reds_seq002 is left out: it has blur_x4 but no sharp pictures" in dataset.notes
