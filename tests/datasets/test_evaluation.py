"""Scores, what the network is given, and sizes that do not fit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.core.errors import ContractError
from deblurrt.core.pictures import read_picture
from deblurrt.datasets.evaluation import Evaluation, ScoreConfig, Scores, SequenceScores, score_pairs
from deblurrt.datasets.metrics import psnr, psnr_y, ssim, ssim_y
from deblurrt.datasets.pairs import Pair, PairSequence, open_pairs
from deblurrt.datasets.resizing import enlarge_bicubic

Pixels = NDArray[np.uint8]
Put = Callable[..., None]
Window = tuple[Pixels, Pixels | None, Pixels | None]


@pytest.fixture
def walk(tmp_path: Path, put: Put) -> PairSequence:
    """Five pairs."""
    for number in range(5):
        put(tmp_path / "walk" / "blur" / f"{number}.png")
        put(tmp_path / "walk" / "sharp" / f"{number}.png")
    return open_pairs(tmp_path / "walk")[0]


@pytest.fixture
def small(tmp_path: Path, put: Put) -> PairSequence:
    """One pair on the track of smaller pictures."""
    put(tmp_path / "blur_x4.png", (5, 6))
    put(tmp_path / "sharp.png", (20, 24))
    return PairSequence("small", (Pair("small", tmp_path / "blur_x4.png", tmp_path / "sharp.png", scale=4),))


class Recorder:
    """Leaves pictures as they are and keeps what it is called with."""

    def __init__(self) -> None:
        self.windows: list[Window] = []

    def __call__(self, pixels: Pixels, previous: Pixels | None, following: Pixels | None) -> Pixels:
        self.windows.append((pixels, previous, following))
        return pixels


def unchanged(pixels: Pixels, previous: Pixels | None, following: Pixels | None) -> Pixels:
    return pixels


def fourfold(pixels: Pixels, previous: Pixels | None, following: Pixels | None) -> Pixels:
    return pixels.repeat(4, axis=0).repeat(4, axis=1)


def frames_of(window: Window, walk: PairSequence) -> list[int | None]:
    """Numbers of the pictures a network was called with: this, previous, following."""
    pictures = [read_picture(pair.blurred) for pair in walk.pairs]
    return [
        None if seen is None else next(i for i, picture in enumerate(pictures) if np.array_equal(picture, seen))
        for seen in window
    ]


def test_network_is_given_the_frames_before_and_after(walk: PairSequence) -> None:
    network = Recorder()
    list(score_pairs(network, walk))
    windows = [frames_of(window, walk) for window in network.windows]
    assert windows == [[0, None, 1], [1, 0, 2], [2, 1, 3], [3, 2, 4], [4, 3, None]]


def test_neighbours_are_given_where_only_some_frames_are_scored(walk: PairSequence) -> None:
    network = Recorder()
    scored = list(score_pairs(network, replace(walk, places=(0, 3))))
    assert [frames_of(window, walk) for window in network.windows] == [[0, None, 1], [3, 2, 4]]
    assert [one.pair.name for one in scored] == ["walk/0", "walk/3"]


@pytest.mark.parametrize("config", [ScoreConfig(with_neighbours=False), None])
def test_no_neighbours_are_given_where_there_are_none(walk: PairSequence, config: ScoreConfig | None) -> None:
    network = Recorder()
    list(score_pairs(network, replace(walk, is_consecutive=config is not None), config))
    assert [window[1:] for window in network.windows] == [(None, None)] * 5


def test_neighbours_are_cropped_like_the_frame(walk: PairSequence) -> None:
    network = Recorder()
    list(score_pairs(network, walk.crop_to((12, 14))))
    previous = network.windows[1][1]
    assert previous is not None
    np.testing.assert_array_equal(previous, read_picture(walk.pairs[0].blurred)[2:14, 5:19])


def test_every_picture_is_read_once(walk: PairSequence) -> None:
    reads: Counter[str] = Counter()

    def counting(path: Path) -> Pixels:
        reads[f"{path.parent.name}/{path.stem}"] += 1
        return read_picture(path)

    counted = replace(walk, pairs=tuple(replace(pair, reader=counting) for pair in walk.pairs))
    list(score_pairs(unchanged, counted))
    assert set(reads.values()) == {1}
    assert len(reads) == 10


def test_scores_are_those_of_the_metrics(walk: PairSequence) -> None:
    def inverted(pixels: Pixels, previous: Pixels | None, following: Pixels | None) -> Pixels:
        return 255 - pixels

    config = ScoreConfig(lpips=lambda restored, sharp: float(restored[0, 0, 0]))
    one = next(iter(score_pairs(inverted, walk, config)))
    blurred, sharp = walk.pairs[0].read()
    assert one.scores.psnr_db == psnr(255 - blurred, sharp)
    assert one.scores.ssim == ssim(255 - blurred, sharp)
    assert one.scores.psnr_input_db == psnr(blurred, sharp)
    assert (one.scores.psnr_y_db, one.scores.ssim_y) == (psnr_y(255 - blurred, sharp), ssim_y(255 - blurred, sharp))
    assert one.scores.lpips == 255 - blurred[0, 0, 0]


def test_exact_picture_counts_as_100_db(walk: PairSequence) -> None:
    exact = replace(walk, pairs=tuple(replace(pair, blurred=pair.sharp) for pair in walk.pairs))
    scores = next(iter(score_pairs(unchanged, exact))).scores
    assert (scores.psnr_db, scores.psnr_input_db, scores.psnr_y_db, scores.gain_db) == (100, 100, 100, 0)


def test_network_that_leaves_small_pictures_small_is_enlarged(small: PairSequence) -> None:
    (one,) = score_pairs(unchanged, small)
    enlarged = enlarge_bicubic(read_picture(small.pairs[0].blurred), 4)
    np.testing.assert_array_equal(one.restored, enlarged)
    np.testing.assert_array_equal(one.blurred, enlarged)
    assert one.scores.gain_db == 0
    assert one.scores.psnr_input_db == psnr(enlarged, one.sharp)


def test_network_that_enlarges_is_scored_as_it_is(small: PairSequence) -> None:
    (one,) = score_pairs(fourfold, small)
    np.testing.assert_array_equal(one.restored, read_picture(small.pairs[0].blurred).repeat(4, 0).repeat(4, 1))
    assert one.scores.psnr_db != one.scores.psnr_input_db


def test_network_that_enlarges_on_a_track_of_one_size_is_told_its_track(walk: PairSequence) -> None:
    with pytest.raises(ContractError, match=r"restored is \[64, 96, 3\].* --track blur_bicubic_x4"):
        next(score_pairs(fourfold, walk))


def test_network_that_cuts_pictures_is_refused(walk: PairSequence) -> None:
    with pytest.raises(ContractError, match=r"restored is \[15, 24, 3\], the truth \[16, 24, 3\]$"):
        next(score_pairs(lambda pixels, previous, following: pixels[1:], walk))


def test_json_holds_what_was_measured_psnr_first() -> None:
    scores = Scores(30.123456, 0.91234567, 60.12345, 28.0)
    plain = ["psnr_db", "ssim", "mse", "psnr_input_db", "gain_db"]
    assert list(scores.to_dict()) == plain
    assert scores.to_dict()["gain_db"] == 2.1235
    assert list(replace(scores, psnr_y_db=31.0, ssim_y=0.9).to_dict()) == [*plain, "psnr_y_db", "ssim_y"]
    assert list(replace(scores, lpips=0.1).to_dict()) == [*plain, "lpips"]


def test_total_is_the_mean_over_frames_not_over_sequences() -> None:
    first = SequenceScores("a", {"a/0": Scores(10, 0.1, 1, 5, 11, 0.2), "a/1": Scores(20, 0.2, 2, 5, 12, 0.3)})
    second = SequenceScores("b", {"b/0": Scores(60, 0.6, 6, 5, 13, 0.4, 0.5)})
    total = Evaluation((first, second)).total
    assert (total.psnr_db, total.mse, total.psnr_y_db, total.gain_db) == (30, 3, 12, 25)
    assert total.lpips is None
    assert second.mean == second.frames["b/0"]


def test_evaluation_survives_json() -> None:
    evaluation = Evaluation((SequenceScores("a", {"a/0": Scores(10, 0.1, 1, 5)}),))
    read = json.loads(json.dumps(evaluation.to_dict()))
    assert next(iter(read)) == "psnr_db"
    assert (read["frames"], read["sequences"][0]["frames"]["a/0"]["psnr_db"]) == (1, 10)
