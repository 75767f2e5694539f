"""What frames are taken from: sequences of a data set, folders of pictures, videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..core.errors import SourceError, UsageError
from ..core.pictures import Pixels, read_picture
from ..datasets.pairs import PairSequence
from ..runtime.sources import open_source

#: consecutive pictures of one size: one, or previous, current and next
Window = tuple[Pixels, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A frame as the network sees it.

    Attributes:
        name: Clip and frame.
        window: One picture, or previous, current and next.
        sharp: What it should become; None where nobody knows.
    """

    name: str
    window: Window
    sharp: Pixels | None = None

    @property
    def pixels(self) -> Pixels:
        """The frame itself."""
        return self.window[len(self.window) // 2]


class Clip(Protocol):
    """Frames of one recording."""

    @property
    def name(self) -> str:
        """Of its file or folder."""

    @property
    def has_truth(self) -> bool:
        """Whether the sharp pictures are known."""

    @property
    def files(self) -> Iterable[Path]:
        """Files the frames are read from."""

    def __len__(self) -> int:
        """Count the frames."""

    def read(self, places: Sequence[int], frames: int) -> Iterator[Shot]:
        """Read windows of ``frames`` around rising ``places``, one at a time."""


@dataclass(frozen=True, slots=True)
class PairClip:
    """Frames with their sharp twins, of a data set or a folder of pairs."""

    sequence: PairSequence
    has_truth = True

    @property
    def name(self) -> str:
        return self.sequence.name

    @property
    def files(self) -> Iterable[Path]:
        return (pair.blurred for pair in self.sequence.pairs)

    def __len__(self) -> int:
        return len(self.sequence.pairs)

    def read(self, places: Sequence[int], frames: int) -> Iterator[Shot]:
        pairs = self.sequence.pairs
        for place in places:
            pixels, sharp = pairs[place].read()
            window: Window = (pixels,)
            if frames > 1:
                near = [_near(place, step, len(pairs), self.sequence.is_consecutive) for step in (-1, 1)]
                around = [pixels if other == place else pairs[other].read_whole_input() for other in near]
                window = (around[0], pixels, around[1])
            yield Shot(pairs[place].name, window, sharp)


@dataclass(frozen=True, slots=True)
class PictureClip:
    """Pictures of one folder, or a single one."""

    name: str
    paths: tuple[Path, ...]
    has_truth = False

    @property
    def files(self) -> Iterable[Path]:
        return self.paths

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, places: Sequence[int], frames: int) -> Iterator[Shot]:
        is_consecutive = all(path.stem.isdecimal() for path in self.paths)
        for place in places:
            near = [_near(place, step, len(self), is_consecutive) for step in ((-1, 0, 1) if frames > 1 else (0,))]
            yield Shot(
                f"{self.name}/{self.paths[place].stem}", tuple(read_picture(self.paths[other]) for other in near)
            )


@dataclass(frozen=True, slots=True)
class VideoClip:
    """Frames of a video; every reading decodes it from its begin to the last frame that is wanted."""

    path: Path
    count: int
    has_truth = False

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def files(self) -> Iterable[Path]:
        return (self.path,)

    def __len__(self) -> int:
        return self.count

    def read(self, places: Sequence[int], frames: int) -> Iterator[Shot]:
        waiting = list(places)
        recent: list[Pixels] = []
        with closing(open_source(self.path)) as source:
            for index, frame in enumerate(source):
                recent = [*recent[-2:], frame.pixels.copy()]
                # with a window of three, a frame is ready when its successor is there
                while waiting and index >= min(waiting[0] + (frames > 1), self.count - 1):
                    yield self._shot(waiting.pop(0), index, recent, frames)
                if not waiting:
                    return
        raise SourceError(f"{self.path} ended before frame {waiting[0]}; it had {self.count} when they were counted")

    def _shot(self, place: int, index: int, recent: list[Pixels], frames: int) -> Shot:
        held = {index - back: pixels for back, pixels in enumerate(reversed(recent))}
        around = (-1, 0, 1) if frames > 1 else (0,)
        return Shot(f"{self.name}/{place:08d}", tuple(held.get(place + step, held[place]) for step in around))


def _near(place: int, step: int, count: int, is_consecutive: bool) -> int:
    """Place of a neighbour; a frame at an end, or without neighbours in time, is its own."""
    return min(max(place + step, 0), count - 1) if is_consecutive else place


def check_apart(clips: Iterable[Clip]) -> None:
    """Refuse frames that are given twice, of which one could be calibrated on and the other judged on.

    Raises:
        UsageError: Two clips have a file in common.
    """
    folders: dict[Path, Path] = {}
    owners: dict[Path, int] = {}
    for number, clip in enumerate(clips):
        for file in clip.files:
            folder = folders.setdefault(file.parent, file.parent.resolve())
            if owners.setdefault(folder / file.name, number) != number:
                raise UsageError(
                    f"frames are given twice: {file} is in two places of --data, and what is calibrated on must not "
                    "be judged on; name each folder or video once"
                )


def count_frames(path: Path) -> int:
    """Count the frames of a video by decoding it; what its container says is often wrong.

    Raises:
        SourceError: It cannot be read.
    """
    with closing(open_source(path)) as source:
        return sum(1 for _ in source)
