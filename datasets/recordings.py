"""From the folders of one recording to its pairs on a track: as they are, or made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ..core.errors import UsageError
from .cifar import CifarReader, count_pictures
from .degradations import (
    REDUCTION,
    BicubicReduction,
    Degradation,
    FrameAverage,
    GaussianBlur,
    JpegCompression,
    read_as_published,
)
from .pairs import Matched, Pair, PairSequence, frame_name, match_pictures, pictures_in

Track = Literal["blur", "blur_jpeg", "blur_bicubic_x4", "gaussian", "averaged"]
TRACKS: tuple[Track, ...] = get_args(Track)
#: tracks that need sharp pictures alone
FROM_SHARP = frozenset({"gaussian", "averaged"})
#: frames averaged by default
AVERAGED_FRAMES = 7


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """Which degradation is wanted.

    Attributes:
        track: One of ``TRACKS``.
        averaged_frames: How many frames ``averaged`` takes the mean of, odd.
        seed: Of the draws of ``gaussian``.
    """

    track: Track = "blur"
    averaged_frames: int = AVERAGED_FRAMES
    seed: int = 0

    def __post_init__(self) -> None:
        if self.track not in TRACKS:
            raise UsageError(f"no track {self.track!r}; it is one of {', '.join(TRACKS)}")
        if self.averaged_frames < 3 or self.averaged_frames % 2 == 0:
            raise UsageError(f"{self.averaged_frames} frames are to be averaged, expected an odd number from 3")

    @property
    def scale(self) -> int:
        """How many times larger than the blurred the sharp pictures of the track are."""
        return REDUCTION if self.track == "blur_bicubic_x4" else 1


@dataclass(frozen=True, slots=True)
class Recording:
    """Where the pictures of one sequence lie: folders, or single files.

    Attributes:
        name: Of the sequence.
        sharp: Where sharp pictures belong; they may be missing.
        blur: Blurred pictures; None: there are none.
        blur_jpeg: Blurred and compressed pictures, likewise.
        blur_x4: Blurred pictures, four times smaller, likewise.
        is_consecutive: Whether its pictures follow each other in time.
        has_spare_sharp: Whether ``sharp`` also holds pictures of other recordings.
        is_cifar: Whether ``sharp`` is a CIFAR-10 file.
    """

    name: str
    sharp: Path
    blur: Path | None = None
    blur_jpeg: Path | None = None
    blur_x4: Path | None = None
    is_consecutive: bool = True
    has_spare_sharp: bool = False
    is_cifar: bool = False

    @property
    def lacks_truth(self) -> bool:
        """Whether there is nothing to score it with."""
        return not self.sharp.exists()


def sequence_of(recording: Recording, config: TrackConfig) -> PairSequence | None:
    """Pair up a recording on a track; None where it has nothing for it.

    Raises:
        SourceError: A picture lacks its partner.
    """
    if config.track in FROM_SHARP:
        pairs = [] if recording.lacks_truth else _pairs_from_sharp(recording, config)
    else:
        pairs = _pairs_from_blurred(recording, config)
    if not pairs:
        return None
    return PairSequence(recording.name, tuple(pairs), is_consecutive=recording.is_consecutive)


def _pairs_from_blurred(recording: Recording, config: TrackConfig) -> list[Pair]:
    made: Degradation | None = None
    place = recording.blur
    if config.track == "blur_jpeg":
        place, made = (recording.blur_jpeg, None) if recording.blur_jpeg else (place, JpegCompression())
    elif config.track == "blur_bicubic_x4":
        place, made = (recording.blur_x4, None) if recording.blur_x4 else (place, BicubicReduction())
    if place is None or (recording.lacks_truth and place == recording.blur_x4):
        return []
    matched = match_pictures(place, recording.sharp, has_spare_sharp=recording.has_spare_sharp)
    pairs = [
        Pair(frame_name(recording.name, stem), *files, scale=config.scale, degradation=made)
        for stem, files in matched.items()
    ]
    if config.track != "blur_jpeg" or made is not None:
        return pairs
    return [Pair(pair.name, pair.blurred, pair.sharp, reader=read_as_published) for pair in pairs]


def _pairs_from_sharp(recording: Recording, config: TrackConfig) -> list[Pair]:
    if config.track == "averaged":
        return _averaged(recording, config.averaged_frames)
    made = GaussianBlur(config.seed)
    if recording.is_cifar:
        path = recording.sharp
        return [
            Pair(f"{recording.name}/{row:05d}", path, path, degradation=made, reader=CifarReader(row))
            for row in range(count_pictures(path))
        ]
    return [
        Pair(frame_name(recording.name, stem), path, path, degradation=made)
        for stem, (path, _) in _sharp_twice(recording).items()
    ]


def _sharp_twice(recording: Recording) -> Matched:
    """Sharp pictures of the recording; of those it shares, the ones with a blurred twin."""
    if recording.has_spare_sharp and recording.blur is not None:
        matched = match_pictures(recording.blur, recording.sharp, has_spare_sharp=True)
        return {stem: (sharp, sharp) for stem, (_, sharp) in matched.items()}
    return {stem: (path, path) for stem, path in pictures_in(recording.sharp).items()}


def _averaged(recording: Recording, count: int) -> list[Pair]:
    """Pairs of all frames with enough neighbours; nothing where frames do not follow each other."""
    if not recording.is_consecutive:
        return []
    frames = list(pictures_in(recording.sharp).items())
    reach = count // 2
    pairs = []
    for place in range(reach, len(frames) - reach):
        stem, path = frames[place]
        around = frames[place - reach : place] + frames[place + 1 : place + reach + 1]
        made = FrameAverage(tuple(other for _, other in around))
        pairs.append(Pair(frame_name(recording.name, stem), path, path, degradation=made))
    return pairs
