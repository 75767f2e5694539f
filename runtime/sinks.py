"""Where frames go: the protocol every sink keeps, and the one that fits a path."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from ..core.errors import UsageError
from ..core.outputs import check_output
from ..core.pictures import PICTURE_SUFFIXES
from .frame import Frame
from .redaction import redacted

if TYPE_CHECKING:
    from fractions import Fraction

_VIDEO = (".video_sink", "open_video_file")
_PICTURE = (".picture_folder", "open_picture_file")

#: suffix of the output, "" for a folder -> (module, attribute); called with the path and ``SinkOptions``
SINKS: dict[str, tuple[str, str]] = {
    "": (".picture_folder", "open_picture_folder"),
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".mkv"), _VIDEO),
    **dict.fromkeys(sorted(PICTURE_SUFFIXES), _PICTURE),
}


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """How an output is made, whatever its kind.

    Attributes:
        force: Whether an existing output is replaced, once the new one is whole.
        copy_from: File whose sound, subtitles and titles go into a video output.
        frame_rate: Frames per second where frames carry no time; None stands for 25.
    """

    force: bool = False
    copy_from: Path | None = None
    frame_rate: Fraction | None = None


class Sink(Protocol):
    """Takes frames in order.

    Output is written beside its final place and moved there by ``close``; ``abort`` leaves nothing.
    """

    @property
    def path(self) -> Path:
        """Final place of the output."""

    def write(self, frame: Frame) -> None:
        """Take one frame; the first decides the size.

        Raises:
            OutputError: The disk is full or the place cannot be written.
        """

    def close(self) -> None:
        """Finish the output and move it to its final place; closing twice is fine."""

    def abort(self) -> None:
        """Drop what was written; does nothing after ``close``."""


def open_sink(
    path: str | Path,
    *,
    force: bool = False,
    copy_from: Path | None = None,
    frame_rate: Fraction | None = None,
) -> Sink:
    """Open an output by its name: a video, one picture, or a folder of pictures.

    A name without suffix, with a slash at the end, or of an existing folder means a folder.

    Args:
        path: Final place; its folder exists.
        force: Whether something already there is replaced, once the new output is whole.
        copy_from: File whose sound, subtitles and titles go into a video; other outputs ignore it.
        frame_rate: Frames per second where frames carry no time; None stands for 25.

    Example:
        >>> sink = open_sink("sharp.mp4", copy_from=Path("blurred.mp4"))

    Raises:
        UsageError: The suffix is not known.
        OutputError: The output exists already, or its folder does not.
        SourceError: ``copy_from`` cannot be read.
    """
    module, attribute = SINKS[_kind_of(path)]
    factory = cast(
        "Callable[[Path, SinkOptions], Sink]", getattr(importlib.import_module(module, __package__), attribute)
    )
    return factory(Path(path), SinkOptions(force, copy_from, frame_rate))


def check_sink(path: str | Path, *, force: bool = False) -> None:
    """Refuse an output as ``open_sink`` would, before any work is done and without beginning it.

    Raises:
        UsageError: The suffix is not known.
        OutputError: The output exists already, or its folder does not.
    """
    check_output(Path(path), force=force, is_folder=not _kind_of(path))


def _kind_of(path: str | Path) -> str:
    """Give the key of ``SINKS``; empty for a folder."""
    place = Path(path)
    if "://" in str(path):
        raise UsageError(
            f"{redacted(str(path))} names no known output, expected shm://NAME, zmq+tcp://HOST:PORT, "
            "zmq+ipc:///PATH, window://TITLE, -, y4m:-, raw:-, a file or a folder"
        )
    is_folder = str(path).endswith(("/", "\\")) or place.is_dir()
    suffix = "" if is_folder else place.suffix.lower()
    if suffix not in SINKS:
        known = ", ".join(sorted(filter(None, SINKS)))
        raise UsageError(f"{place.name} names no known output, expected {known}, or a folder: {place}/")
    return suffix
