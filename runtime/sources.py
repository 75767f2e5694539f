"""Where frames come from: the protocol every source keeps, and the one that fits a path."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..core.errors import SourceError, UsageError
from ..core.pictures import is_picture
from .frame import Frame

if TYPE_CHECKING:
    from fractions import Fraction

    from .pipe_source import RawFormat

#: what stands for standard input
STANDARD_INPUT = "-"

#: kind of source -> (module, attribute); the attribute is called with the path, that of a pipe with its
#: format; all but pictures also get the colour matrix of video that names none
SOURCES: dict[str, tuple[str, str]] = {
    "pipe": (".pipe_source", "PipeSource"),
    "video": (".video_source", "VideoFileSource"),
    "pictures": (".picture_folder", "PictureFolderSource"),
}


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a source before its first frame.

    Attributes:
        name: File or folder name, without credentials.
        size: Height and width of upright frames, pixels.
        frame_rate: Average frames per second, None where unknown.
        frame_count: Frames the container declares, None where unknown; often wrong.
        is_live: Whether frames arrive by themselves and may be dropped.
    """

    name: str
    size: tuple[int, int]
    frame_rate: Fraction | None = None
    frame_count: int | None = None
    is_live: bool = False


class Source(Protocol):
    """Yields frames once, in order.

    A source that ends early because its input is damaged yields all it could read and then raises
    ``IncompleteError``; one that never gave a frame raises ``SourceError``.
    """

    @property
    def info(self) -> SourceInfo:
        """What is known before the first frame."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame; a source can be iterated once."""

    def close(self) -> None:
        """Release everything; closing twice is fine."""


@runtime_checkable
class Interruptible(Protocol):
    """A source that may wait for its next frame for ever, and can be told not to."""

    def interrupt(self) -> None:
        """End the frames with the last one read; may be called from any thread."""


def open_source(path: str | Path, raw: RawFormat | None = None, untagged_matrix: int | None = None) -> Source:
    """Open a video file, a picture, a folder or pattern of pictures, or raw video on standard input.

    Args:
        path: A path; ``-`` for standard input; or a pattern such as ``frames/*.png``, quoted where a
            shell would expand it.
        raw: What plain RGB on standard input is; None for Y4M, which says it itself.
        untagged_matrix: Colour matrix of video that names none (``MATRICES``); None to go by its height.

    Example:
        >>> with closing(open_source("drive.mp4")) as source:
        ...     sizes = {frame.size for frame in source}

    Raises:
        SourceError: There is nothing at ``path``, or nothing that can be read.
        UsageError: ``raw`` goes with a file.
    """
    if str(path) == STANDARD_INPUT:
        return _factory("pipe")(raw, untagged_matrix=untagged_matrix)
    if raw is not None:
        raise UsageError(f"a raw format goes with standard input (-); {path} says itself what it is")
    place = Path(path)
    if not place.exists() and not is_pattern(place):
        raise SourceError(f"no video, picture or folder at {place}; check the path")
    if place.is_dir() or is_picture(place) or is_pattern(place):
        return _factory("pictures")(place)
    return _factory("video")(place, untagged_matrix=untagged_matrix)


def is_pattern(path: Path) -> bool:
    """Whether ``path`` is no file but a pattern for names of files in one folder."""
    return bool(set(path.name) & set("*?[")) and not path.exists()


def _factory(kind: str) -> Callable[..., Source]:
    module, attribute = SOURCES[kind]
    factory: Callable[..., Source] = getattr(importlib.import_module(module, __package__), attribute)
    return factory
