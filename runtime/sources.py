"""Where frames come from: the protocol every source keeps, and the one that fits a path."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from ..core.errors import SourceError
from ..core.pictures import is_picture
from .frame import Frame

if TYPE_CHECKING:
    from fractions import Fraction

#: kind of source -> (module, attribute); the attribute is called with the path
SOURCES: dict[str, tuple[str, str]] = {
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


def open_source(path: str | Path) -> Source:
    """Open a video file, a picture or a folder of pictures, and read its first frame.

    Example:
        >>> with closing(open_source("drive.mp4")) as source:
        ...     sizes = {frame.size for frame in source}

    Raises:
        SourceError: There is nothing at ``path``, or nothing that can be read.
    """
    place = Path(path)
    if not place.exists():
        raise SourceError(f"no video, picture or folder at {place}; check the path")
    kind = "pictures" if place.is_dir() or is_picture(place) else "video"
    module, attribute = SOURCES[kind]
    factory = cast("Callable[[Path], Source]", getattr(importlib.import_module(module, __package__), attribute))
    return factory(place)
