"""Which frames an INT8 network is calibrated on, and which it is judged on: chosen, checked, named, hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core.contract import FrameContract
from ..core.errors import SourceError, UsageError
from ..core.pictures import Pixels, is_picture
from ..datasets.dataset import open_dataset
from ..datasets.layouts import layout_of, nearby
from ..datasets.pairs import listed, pictures_in
from ..datasets.recordings import Track
from .clips import Clip, PairClip, PictureClip, Shot, VideoClip, check_apart, count_frames
from .splits import held_back_split

#: fewest frames whose ranges say something
LEAST_FRAMES = 4
#: frames that are calibrated on, and of the same data held out to judge, where nothing is asked for
CALIBRATION_FRAMES, HELD_OUT_FRAMES = 32, 4
#: correlation of neighbouring pixels below which a picture is noise; the shared photographs have 0.93 and more
LEAST_CORRELATION = 0.5
#: splits nobody may calibrate on unasked
SCORED_SPLITS = frozenset({"val", "test"})


@dataclass(frozen=True, slots=True)
class FrameChoice:
    """Which frames are wanted.

    Attributes:
        roots: Roots of data sets, folders of pairs or pictures, videos.
        track: Of data sets; None: what the network undoes.
        split: Of data sets that have splits.
        count: Frames to calibrate on; None: as many as there are, up to ``CALIBRATION_FRAMES``.
        held_out: Frames to judge on, at most a third of all.
        seed: Of the draws.
        allow_test_split: Whether frames of a validation or test split are taken; they are marked.
    """

    roots: tuple[Path, ...]
    track: Track | None = None
    split: str = "train"
    count: int | None = None
    held_out: int = HELD_OUT_FRAMES
    seed: int = 0
    allow_test_split: bool = False


@dataclass(frozen=True, slots=True)
class FrameList:
    """Frames that were chosen, read anew each time they are gone through.

    Attributes:
        clips: Where they are.
        places: Clip and place in it of each, in order.
        window: Consecutive frames per frame.
    """

    clips: tuple[Clip, ...]
    places: tuple[tuple[int, int], ...]
    window: int = 1

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Shot]:
        for index, clip in enumerate(self.clips):
            wanted = [place for number, place in self.places if number == index]
            if wanted:
                yield from clip.read(wanted, self.window)


@dataclass(frozen=True, slots=True)
class Frames:
    """What a network is calibrated and judged on.

    Attributes:
        calibration: Frames whose values decide the scales.
        held_out: Frames the decibels are measured on; none of the others.
        names: Of the frames that are calibrated on.
        sha256: Of their names and pixels, neighbours included.
        size: Height and width of all of them.
        test_split: The split they are of where that is one for validation or tests; it was allowed.
        notes: What a reader should know.
    """

    calibration: FrameList
    held_out: FrameList
    names: tuple[str, ...]
    sha256: str
    size: tuple[int, int]
    test_split: str | None = None
    notes: tuple[str, ...] = field(default=())


def choose_frames(choice: FrameChoice, contract: FrameContract) -> Frames:
    """Choose frames spread over all clips, and check each.

    Args:
        choice: Where, how many, under which seed.
        contract: Of the network: decides track, scale and window.

    Raises:
        SourceError: Data is missing, unreadable, random, of mixed sizes, or too few.
        UsageError: The frames are of a validation or test split, given twice, or do not fit the network.
    """
    split = _test_split(choice)
    notes = [f"calibrated on frames of the {split} split, which must not be scored on"] if split else []
    clips = tuple(clip for root in choice.roots for clip in _clips(root, choice, contract))
    check_apart(clips)
    calibration, held_out = _drawn(clips, choice)
    lists = [FrameList(clips, tuple(sorted(places)), contract.window) for places in (calibration, held_out)]
    names, digest, size = _checked(lists[0], None)
    _, _, size = _checked(lists[1], size)
    if held_out and not any(clips[number].has_truth for number, _ in held_out):
        notes.append("no sharp pictures: decibels are those against a float result of 30 dB")
    return Frames(lists[0], lists[1], names, digest, size, split, tuple(notes))


def _test_split(choice: FrameChoice) -> str | None:
    """The held-back split the data belongs to; None: none.

    Raises:
        SourceError: There is nothing.
        UsageError: It is one, and was not allowed.
    """
    for root in choice.roots:
        if not root.exists():
            raise SourceError(f"no data at {root}; give a root of REDS, a folder of pictures or a video with --data")
    for root in choice.roots:
        layout = layout_of(root) if root.is_dir() else None
        has_splits = layout is not None and bool(layout.splits)
        split = choice.split if has_splits and choice.split in SCORED_SPLITS else None
        split = split or (None if has_splits else held_back_split(root))
        if split and not choice.allow_test_split:
            raise UsageError(
                f"{root} is of the {split} split: scores on it mean nothing once a network is calibrated on it; take "
                "training frames, or --allow-test-split, which marks the file"
            )
        if split:
            return split
    return None


def _clips(root: Path, choice: FrameChoice, contract: FrameContract) -> list[Clip]:
    if root.is_file():
        return [PictureClip(root.stem, (root,))] if is_picture(root) else [VideoClip(root, count_frames(root))]
    layout = layout_of(root)
    if layout is None:
        raise SourceError(f"no pictures, pairs or data set in {root}; found {listed(root)}{nearby(root)}")
    if layout.name == "cifar10":
        raise UsageError(f"{root} is CIFAR-10, pictures of 32x32; calibrate on frames as the network will see them")
    if layout.name == "sharp":
        folders = [recording.sharp for recording in layout.recordings(root, "")]
        return [PictureClip(folder.resolve().name, tuple(pictures_in(folder).values())) for folder in folders]
    track: Track = choice.track or _track_of(contract)
    dataset = open_dataset(root, track, choice.split)
    if dataset.scale != contract.scale:
        raise UsageError(
            f"frames of the track {track} are to become {dataset.scale} times larger, the network enlarges "
            f"{contract.scale} times; take --track {_track_of(contract)}"
        )
    return [PairClip(sequence) for sequence in dataset]


def _track_of(contract: FrameContract) -> Track:
    if contract.scale > 1:
        return "blur_bicubic_x4"
    return "blur_jpeg" if contract.task == "deblur_jpeg" else "blur"


Places = list[tuple[int, int]]


def _drawn(clips: Sequence[Clip], choice: FrameChoice) -> tuple[Places, Places]:
    """Draw frames to calibrate on and frames to judge on, no frame twice.

    Raises:
        SourceError: There are too few.
    """
    total = sum(map(len, clips))
    count = CALIBRATION_FRAMES if choice.count is None else choice.count
    if choice.count is not None and choice.count < LEAST_FRAMES:
        raise UsageError(f"--frames is {choice.count}; the ranges of a network want at least {LEAST_FRAMES}")
    held_out = min(choice.held_out, total // 3)
    found = total - held_out
    if found < (LEAST_FRAMES if choice.count is None else choice.count):
        wanted = LEAST_FRAMES if choice.count is None else choice.count
        fewer = f"ask for --frames {found}, hold out fewer with --held-out, or " if found >= LEAST_FRAMES else ""
        raise SourceError(
            f"too few frames: {total} found, {held_out} of them held out to judge on, {wanted} wanted to calibrate on; "
            f"{fewer}give more with --data"
        )
    rng = np.random.default_rng(choice.seed)
    truthful = [index for index, clip in enumerate(clips) if clip.has_truth]
    judges = _spread(clips, truthful or list(range(len(clips))), held_out, rng, frozenset())
    return _spread(clips, list(range(len(clips))), min(count, found), rng, frozenset(judges)), judges


def _spread(
    clips: Sequence[Clip],
    chosen: Sequence[int],
    count: int,
    rng: np.random.Generator,
    taken: frozenset[tuple[int, int]],
) -> Places:
    """Draw ``count`` free places: clip by clip in turn, in each as far from those drawn as its length allows."""
    free = {index: [place for place in range(len(clips[index])) if (index, place) not in taken] for index in chosen}
    shares = dict.fromkeys(chosen, 0)
    left = count
    order = [int(index) for index in rng.permutation(np.array(chosen, np.int64))]
    while left and any(shares[index] < len(free[index]) for index in order):
        for index in order:
            if left and shares[index] < len(free[index]):
                shares[index] += 1
                left -= 1
    places: Places = []
    for index in chosen:
        step = len(free[index]) / max(shares[index], 1)
        offset = float(rng.random())
        places += [(index, free[index][int((number + offset) * step)]) for number in range(shares[index])]
    return places


def _checked(frames: FrameList, size: tuple[int, int] | None) -> tuple[tuple[str, ...], str, tuple[int, int]]:
    """Read all frames once.

    Returns:
        Names, hash of names and pixels, and the size all have.

    Raises:
        SourceError: One is unreadable, noise, or of another size; or all are flat.
    """
    digest, names = hashlib.sha256(), []
    is_flat = len(frames) > 0
    for shot in frames:
        for pixels in shot.window:
            size = size or (pixels.shape[0], pixels.shape[1])
            if pixels.shape[:2] != size:
                raise SourceError(
                    f"{shot.name} is {pixels.shape[0]}x{pixels.shape[1]}, those before it {size[0]}x{size[1]}; "
                    "calibrate on frames of one size, that of the camera"
                )
            digest.update(f"\n{shot.name} {pixels.shape}\n".encode())
            digest.update(np.ascontiguousarray(pixels).tobytes())
        correlation = neighbour_correlation(shot.pixels)
        if correlation is not None and correlation < LEAST_CORRELATION:
            raise SourceError(
                f"{shot.name} is no picture: its neighbouring pixels correlate by {correlation:.2f}, those of "
                f"photographs by more than {LEAST_CORRELATION:g}; random data gives scales that fit no frame"
            )
        is_flat = is_flat and correlation is None
        names.append(shot.name)
    if is_flat:
        raise SourceError(
            f"every frame is of one colour, {names[0]} to {names[-1]}; calibrate on frames with something on them"
        )
    return tuple(names), digest.hexdigest(), size or (0, 0)


def neighbour_correlation(pixels: Pixels) -> float | None:
    """Correlation of neighbouring pixels, of rows or columns, whichever is larger; None for a flat picture."""
    grey = pixels.astype(np.float64).mean(axis=2)
    found = [
        _correlation(first, second)
        for first, second in ((grey[:, 1:], grey[:, :-1]), (grey[1:], grey[:-1]))
        if first.size > 1
    ]
    known = [value for value in found if value is not None]
    return max(known) if known else None


def _correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    one, other = first - first.mean(), second - second.mean()
    spread = float(np.sqrt((one * one).mean() * (other * other).mean()))
    return float((one * other).mean()) / spread if spread > 0 else None
