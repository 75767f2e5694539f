"""Frames to calibrate on: chosen, checked, hashed, refused."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from deblurrt.calibration import frames as frames_module
from deblurrt.calibration.frames import LEAST_CORRELATION, FrameChoice, choose_frames, neighbour_correlation
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import SourceError, UsageError
from deblurrt.core.pictures import read_picture, write_picture
from tests.calibration.small_networks import write_frames, write_noise, write_pairs

DEBLUR, ENLARGE = FrameContract(), FrameContract(task="deblur_sr", scale=4)


def choice(*roots: Path, count: int | None = None, allow_test_split: bool = False, split: str = "train") -> FrameChoice:
    return FrameChoice(roots, split=split, count=count, allow_test_split=allow_test_split)


def write_reds(root: Path, split: str) -> Path:
    """Write a data set of two sequences of 3 frames."""
    for sequence in ("000", "001"):
        for track in ("blur", "sharp"):
            write_frames(root / split / f"{split}_{track}" / sequence, 3)
    return root


def test_same_choice_gives_the_same_frames_and_hash(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "pairs", 12)
    first, second = (choose_frames(choice(folder, count=5), DEBLUR) for _ in range(2))
    assert (first.names, first.sha256) == (second.names, second.sha256)
    assert len(first.names) == 5


def test_frames_held_out_are_none_of_those_calibrated_on(tmp_path: Path) -> None:
    frames = choose_frames(choice(write_pairs(tmp_path / "pairs", 12)), DEBLUR)
    judged = {shot.name for shot in frames.held_out}
    assert len(judged) == 4
    assert judged.isdisjoint(frames.names)
    assert len(frames.names) == 8


def test_one_changed_pixel_changes_the_hash(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames", 6)
    before = choose_frames(choice(folder), DEBLUR)
    path = folder / f"{before.names[0].rpartition('/')[2]}.png"
    pixels = read_picture(path)
    pixels[0, 0, 0] ^= 1
    write_picture(path, pixels)
    after = choose_frames(choice(folder), DEBLUR)
    assert after.names == before.names
    assert after.sha256 != before.sha256


def test_frames_are_spread_over_all_clips(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data" / "a", 10)
    write_pairs(tmp_path / "data" / "b", 4)
    frames = choose_frames(choice(tmp_path / "data", count=6), DEBLUR)
    counted = [sum(name.startswith(clip) for name in frames.names) for clip in ("a/", "b/")]
    assert min(counted) >= 2


def test_windows_of_three_have_their_neighbours(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames", 6)
    frames = choose_frames(choice(folder), FrameContract(window=3))
    for shot in frames.calibration:
        place = int(shot.name.rpartition("/")[2])
        for step, pixels in zip((-1, 0, 1), shot.window, strict=True):
            near = min(max(place + step, 0), 5)
            assert (pixels == read_picture(folder / f"{near:08d}.png")).all()


def test_random_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is no picture: its neighbouring pixels correlate"):
        choose_frames(choice(write_noise(tmp_path / "noise")), DEBLUR)


def test_flat_frames_are_refused(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    for index in range(6):
        write_picture(tmp_path / "flat" / f"{index}.png", np.full((16, 16, 3), 9, np.uint8))
    with pytest.raises(SourceError, match="every frame is of one colour"):
        choose_frames(choice(tmp_path / "flat"), DEBLUR)


def test_a_flat_frame_has_no_correlation_and_a_smooth_one_much(tmp_path: Path) -> None:
    assert neighbour_correlation(np.zeros((8, 8, 3), np.uint8)) is None
    smooth = read_picture(write_frames(tmp_path / "f", 1) / "00000000.png")
    assert (neighbour_correlation(smooth) or 0) > 0.9


@pytest.mark.parametrize(("count", "wanted"), [(None, 2), (20, 6)])
def test_too_few_frames_are_refused(tmp_path: Path, count: int | None, wanted: int) -> None:
    folder = write_frames(tmp_path / "few", wanted)
    with pytest.raises(SourceError, match=f"too few frames: {wanted} found"):
        choose_frames(choice(folder, count=count), DEBLUR)


def test_fewer_than_the_least_is_a_wrong_wish(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="want at least 4"):
        choose_frames(choice(write_frames(tmp_path / "f"), count=2), DEBLUR)


def test_mixed_sizes_are_refused(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "mixed", 6)
    write_frames(tmp_path / "other", 6, size=(32, 64))
    shutil.copy(tmp_path / "other" / "00000003.png", folder / "00000003.png")
    with pytest.raises(SourceError, match="calibrate on frames of one size"):
        choose_frames(choice(folder), DEBLUR)


def test_missing_and_empty_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no data at"):
        choose_frames(choice(tmp_path / "nowhere"), DEBLUR)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no pictures, pairs or data set"):
        choose_frames(choice(tmp_path / "empty"), DEBLUR)


def test_damaged_picture_is_refused(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames", 6)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SourceError):
        choose_frames(choice(folder), DEBLUR)


@pytest.mark.parametrize("split", ["val", "test"])
def test_frames_of_a_scored_split_are_refused_by_split_and_by_folder(tmp_path: Path, split: str) -> None:
    root = write_reds(tmp_path / "REDS", split)
    with pytest.raises(UsageError, match=f"is of the {split} split"):
        choose_frames(choice(root, split=split), DEBLUR)
    with pytest.raises(UsageError, match=f"is of the {split} split"):
        choose_frames(choice(root / split / f"{split}_blur" / "000"), DEBLUR)


def test_allowed_frames_of_a_scored_split_are_marked(tmp_path: Path) -> None:
    root = write_reds(tmp_path / "REDS", "val")
    frames = choose_frames(choice(root, split="val", allow_test_split=True), DEBLUR)
    assert frames.test_split == "val"
    assert "must not be scored on" in frames.notes[0]


def test_training_split_is_taken_as_it_is(tmp_path: Path) -> None:
    frames = choose_frames(choice(write_reds(tmp_path / "REDS", "train")), DEBLUR)
    assert frames.test_split is None
    assert len(frames.names) + len(frames.held_out) == 6


def test_track_that_does_not_fit_the_network_is_refused(tmp_path: Path) -> None:
    root = write_reds(tmp_path / "REDS", "train")
    with pytest.raises(UsageError, match="take --track blur_bicubic_x4"):
        choose_frames(FrameChoice((root,), track="blur"), ENLARGE)


def test_other_seed_draws_other_frames_and_gives_another_hash(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames", 20)
    drawn = [choose_frames(FrameChoice((folder,), count=5, seed=seed), DEBLUR) for seed in (0, 1)]
    assert drawn[0].names != drawn[1].names
    assert drawn[0].sha256 != drawn[1].sha256


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [4, 7, 16])
def test_no_frame_is_drawn_twice_whatever_the_seed(tmp_path: Path, seed: int, count: int) -> None:
    for clip, length in (("a", 12), ("b", 3), ("c", 5)):
        write_frames(tmp_path / "data" / clip, length, (8, 12))
    frames = choose_frames(FrameChoice((tmp_path / "data",), count=count, seed=seed), DEBLUR)
    judged = [shot.name for shot in frames.held_out]
    assert (len(frames.names), len(judged)) == (count, 4)
    assert len({*frames.names, *judged}) == count + 4
    assert [shot.name for shot in frames.calibration] == list(frames.names)


def test_frames_of_one_clip_are_spread_over_its_length(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames", 40, (8, 12))
    frames = choose_frames(FrameChoice((folder,), count=6, held_out=0), DEBLUR)
    places = [int(name.rpartition("/")[2]) for name in frames.names]
    assert all(40 / 6 - 1 < later - earlier < 40 / 6 + 1 for earlier, later in pairwise(places))


def test_sharp_pictures_are_judged_on_where_there_are_some(tmp_path: Path) -> None:
    pairs, pictures = write_pairs(tmp_path / "pairs", 6), write_frames(tmp_path / "pictures", 20)
    frames = choose_frames(choice(pairs, pictures, count=8), DEBLUR)
    assert all(shot.sharp is not None for shot in frames.held_out)
    assert any(name.startswith("pictures/") for name in frames.names)
    assert not frames.notes


def noisy(share: float) -> np.ndarray:
    """A smooth picture with a share of noise."""
    rows, columns = np.mgrid[:48, :64]
    smooth = 127 + 60 * np.sin(rows / 9) + 60 * np.cos(columns / 9)
    noise = np.random.default_rng(0).uniform(0, 255, (48, 64))
    return np.repeat(((1 - share) * smooth + share * noise).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
def test_correlation_of_neighbours_is_that_of_textbooks(share: float) -> None:
    grey = noisy(share)[..., 0].astype(np.float64)
    pairs = ((grey[:, 1:], grey[:, :-1]), (grey[1:], grey[:-1]))
    expected = max(float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) for one, other in pairs)
    assert neighbour_correlation(noisy(share)) == pytest.approx(expected)


@pytest.mark.parametrize(("step", "is_refused"), [(1e-6, True), (-1e-6, False)])
def test_correlation_that_is_wanted_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float, is_refused: bool
) -> None:
    picture = noisy(0.5)
    for index in range(5):
        write_picture(tmp_path / f"{index}.png", picture)
    found = neighbour_correlation(picture)
    assert found is not None
    monkeypatch.setattr(frames_module, "LEAST_CORRELATION", found + step)
    if is_refused:
        with pytest.raises(SourceError, match="is no picture"):
            choose_frames(choice(tmp_path), DEBLUR)
    else:
        assert len(choose_frames(choice(tmp_path), DEBLUR).names) == 4


@pytest.mark.data
@pytest.mark.parametrize("folder", ["images/kodak24", "images/mit_driveseg", "images/carnd_driving"])
def test_photographs_are_far_from_noise(data_root: Path, folder: str) -> None:
    path = min(path for path in (data_root / folder).iterdir() if path.suffix in (".png", ".jpg"))
    assert (neighbour_correlation(read_picture(path)) or 0) > LEAST_CORRELATION + 0.3


def test_every_place_has_to_be_there(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "test", 6)
    with pytest.raises(SourceError, match="no data at"):
        choose_frames(choice(folder, tmp_path / "nowhere", allow_test_split=True), DEBLUR)


def test_too_few_frames_say_how_many_would_do(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames", 10)
    with pytest.raises(SourceError, match="ask for --frames 7, hold out fewer with --held-out, or give more"):
        choose_frames(choice(folder, count=8), DEBLUR)
