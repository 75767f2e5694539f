"""Frames of pairs, folders and videos, with their neighbours."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from deblurrt.calibration import FrameChoice, choose_frames
from deblurrt.calibration.clips import Clip, PairClip, PictureClip, VideoClip, check_apart, count_frames
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import SourceError, UsageError
from deblurrt.core.pictures import read_picture, write_picture
from deblurrt.datasets.dataset import open_dataset
from tests.calibration.small_networks import write_frames, write_pairs

COUNT = 9


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine frames without loss; each is a ramp that is 20 levels brighter than the one before."""
    path = tmp_path_factory.mktemp("video") / "ramps.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "bgr0"
        for index in range(COUNT):
            frame = av.VideoFrame.from_ndarray(ramp(index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def ramp(index: int) -> np.ndarray:
    row = (20 * index + np.arange(48)).astype(np.uint8)
    return np.broadcast_to(row[None, :, None], (32, 48, 3)).copy()


def numbers(window: tuple[np.ndarray, ...]) -> list[int]:
    """Which frames of the video these are."""
    return [int(pixels[0, 0, 0]) // 20 for pixels in window]


def test_video_gives_the_frames_that_were_asked_for(video: Path) -> None:
    shots = list(VideoClip(video, COUNT).read([0, 3, 4, 8], 1))
    assert [shot.name for shot in shots] == [f"ramps.mkv/{place:08d}" for place in (0, 3, 4, 8)]
    assert [numbers(shot.window) for shot in shots] == [[0], [3], [4], [8]]
    assert all((shot.pixels == ramp(place)).all() for shot, place in zip(shots, (0, 3, 4, 8), strict=True))


@pytest.mark.parametrize("places", [[0, 1, 4, 8], [7, 8], [8], list(range(COUNT))])
def test_video_gives_neighbours_and_repeats_its_ends(video: Path, places: list[int]) -> None:
    shots = VideoClip(video, COUNT).read(places, 3)
    expected = [[max(place - 1, 0), place, min(place + 1, COUNT - 1)] for place in places]
    assert [numbers(shot.window) for shot in shots] == expected


def test_frames_of_a_video_are_counted_by_decoding(video: Path) -> None:
    assert count_frames(video) == COUNT


def test_video_that_has_become_shorter_says_so(video: Path) -> None:
    with pytest.raises(SourceError, match=r"ended before frame 11; it had 20 when they were counted"):
        list(VideoClip(video, 20).read([2, 11], 1))


@pytest.mark.parametrize("window", [1, 3])
def test_video_is_calibrated_on(video: Path, window: int) -> None:
    frames = choose_frames(FrameChoice((video,)), FrameContract(window=window))
    judged = [shot.name for shot in frames.held_out]
    assert (len(frames.names), len(judged)) == (6, 3)
    assert set(judged).isdisjoint(frames.names)
    assert frames.size == (32, 48)


def test_single_pictures_are_calibrated_on(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "drives", 6)
    frames = choose_frames(FrameChoice(tuple(sorted(folder.iterdir())), held_out=2), FrameContract())
    assert len(frames.names) == 4
    assert len(frames.held_out) == 2


@pytest.mark.parametrize("content", [b"", b"no video at all" * 20])
def test_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(SourceError, match=r"clip\.mp4"):
        choose_frames(FrameChoice((tmp_path / "clip.mp4",)), FrameContract())


def test_pair_has_its_truth_and_its_neighbours(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "scene", 4)
    clip = PairClip(next(iter(open_dataset(folder, "blur", "train"))))
    first, last = clip.read([0, 3], 3)
    assert (clip.name, len(clip), clip.has_truth) == ("scene", 4, True)
    for shot, places in ((first, (0, 0, 1)), (last, (2, 3, 3))):
        assert shot.sharp is not None
        assert (shot.sharp == read_picture(folder / "sharp" / f"{places[1]:08d}.png")).all()
        for pixels, place in zip(shot.window, places, strict=True):
            assert (pixels == read_picture(folder / "blur" / f"{place:08d}.png")).all()


def test_pictures_without_numbers_have_no_neighbours(tmp_path: Path) -> None:
    for name in ("beach", "forest", "street"):
        write_picture(tmp_path / f"{name}.png", np.full((16, 16, 3), len(name), np.uint8))
    clip = PictureClip("photos", tuple(sorted(tmp_path.iterdir())))
    (shot,) = clip.read([1], 3)
    assert shot.name == "photos/forest"
    assert all((pixels == shot.pixels).all() for pixels in shot.window)


def test_frames_that_are_given_twice_are_refused(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "scene", 6)
    for second in (folder, folder / "blur", folder / ".." / "scene"):
        with pytest.raises(UsageError, match="frames are given twice"):
            choose_frames(FrameChoice((folder, second)), FrameContract())


def test_clips_without_a_common_file_are_apart(tmp_path: Path, video: Path) -> None:
    clips: list[Clip] = [
        VideoClip(video, COUNT),
        *(PictureClip(name, tuple(sorted(write_frames(tmp_path / name, 2).iterdir()))) for name in ("a", "b")),
    ]
    check_apart(clips)
    with pytest.raises(UsageError, match=r"ramps\.mkv is in two places"):
        check_apart([*clips, VideoClip(video, COUNT)])
