"""Folders of pictures, and single pictures, as source and as sink."""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import IncompleteError, OutputError, SourceError, UsageError
from ..core.outputs import check_output, check_still_free, output_error, part_of
from ..core.pictures import PICTURE_SUFFIXES, Pixels, is_picture, read_picture, write_picture
from .frame import Frame
from .sinks import SinkOptions
from .sources import SourceInfo, is_pattern

#: unnamed frames are numbered with this many digits, as in REDS
NUMBER_DIGITS = 8

#: damaged pictures named in an error; the rest is counted
_NAMES_SHOWN = 3


class PictureFolderSource:
    """Reads the pictures of a folder, or one picture, in natural order (``2.png`` before ``10.png``).

    Other files, hidden files and folders inside are ignored. A picture that cannot be read is left
    out and reported at the end. A change of size begins a new epoch. Frames carry no time.

    Args:
        path: A folder, one picture, or a pattern for the names of pictures in one folder.

    Raises:
        SourceError: Nothing there, or no picture can be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files = _pictures_of(path)
        stems = Counter(file.stem for file in self._files)
        self._names = {file: file.stem if stems[file.stem] == 1 else file.name for file in self._files}
        self._unreadable: list[str] = []
        self._is_started = self._is_closed = False
        self._pictures = self._read()
        self._first = next(self._pictures, None)
        if self._first is None:
            raise SourceError(f"no picture of {path} can be read; the first says: {self._unreadable[0]}")
        height, width = self._first[1].shape[:2]
        self._info = SourceInfo(name=path.name or str(path), size=(height, width), frame_count=len(self._files))

    @property
    def info(self) -> SourceInfo:
        """Number of pictures and size of the first."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        """Yield every picture that can be read, named after its file.

        Raises:
            IncompleteError: After the last, where some could not be read.
            SourceError: The source was iterated before.
        """
        if self._is_started:
            raise SourceError(f"{self._info.name} was read already and is read only once; open it again")
        self._is_started = True
        return self._frames()

    def close(self) -> None:
        """Stop reading; closing twice is fine."""
        self._is_closed = True

    def _frames(self) -> Iterator[Frame]:
        seq = epoch = 0
        size = self._info.size
        picture, self._first = self._first, None
        while picture is not None:
            name, pixels = picture
            epoch += pixels.shape[:2] != size
            size = pixels.shape[0], pixels.shape[1]
            yield Frame(pixels, seq, time.monotonic_ns(), stream=self._info.name, epoch=epoch, name=name)
            seq += 1
            picture = next(self._pictures, None)
        if self._unreadable and not self._is_closed:
            raise IncompleteError(
                f"{len(self._unreadable)} of {len(self._files)} pictures of {self._info.name} could not be read: "
                + "; ".join(self._unreadable[:_NAMES_SHOWN])
            )

    def _read(self) -> Iterator[tuple[str, Pixels]]:
        for file in self._files:
            if self._is_closed:
                return
            try:
                pixels = read_picture(file)
            except SourceError as error:
                self._unreadable.append(str(error))
            else:
                yield self._names[file], pixels


class PictureFolderSink:
    """Writes frames as PNG files into a folder that appears, whole, on ``close``.

    Files are named after ``Frame.name``, or numbered ``00000000.png`` on by ``Frame.seq``.

    Args:
        path: The folder; the one around it exists.
        force: Whether an existing folder is replaced; only one that holds nothing but pictures is.

    Raises:
        OutputError: The folder exists already, or the one around it does not.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        check_output(path, force=force, is_folder=True)
        _check_holds_pictures(path)
        self._path, self._part = path, part_of(path)
        self._force = force
        self._names: set[str] = set()
        self._is_over = False
        try:
            if self._part.exists():
                shutil.rmtree(self._part)
            self._part.mkdir()
        except OSError as error:
            raise output_error(path, error) from error

    @property
    def path(self) -> Path:
        """Final place of the folder."""
        return self._path

    def write(self, frame: Frame) -> None:
        """Write one picture; sizes may differ.

        Raises:
            OutputError: The disk is full, or two frames have one name.
        """
        name = Path(frame.name).name if frame.name else f"{frame.seq:0{NUMBER_DIGITS}d}"
        if name in self._names:
            raise OutputError(f"two frames are named {name}; they would overwrite each other in {self._path}")
        self._names.add(name)
        write_picture(self._part / f"{name}.png", frame.pixels)

    def close(self) -> None:
        """Move the folder into place; closing twice is fine.

        Raises:
            IncompleteError: No frame came, so there is no output.
            OutputError: The place was taken meanwhile or cannot be written.
        """
        if self._is_over:
            return
        if not self._names:
            self.abort()
            raise IncompleteError(f"no frame reached {self._path}; nothing was written")
        check_still_free(self._path, force=self._force)
        try:
            _replace_folder(self._part, self._path)
        except OSError as error:
            raise output_error(self._path, error) from error
        self._is_over = True

    def abort(self) -> None:
        """Remove what was written; does nothing after ``close``."""
        if not self._is_over:
            self._is_over = True
            shutil.rmtree(self._part, ignore_errors=True)


class PictureFileSink:
    """Writes exactly one frame as a picture, on ``close``.

    Args:
        path: The picture; its suffix names the format.
        force: Whether an existing file is replaced.

    Raises:
        OutputError: The file exists already, or its folder does not.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        check_output(path, force=force)
        self._path, self._force = path, force
        self._pixels: Pixels | None = None
        self._is_over = False

    @property
    def path(self) -> Path:
        """Final place of the picture."""
        return self._path

    def write(self, frame: Frame) -> None:
        """Keep the one frame.

        Raises:
            UsageError: It is the second.
        """
        if self._pixels is not None:
            raise UsageError(
                f"{self._path.name} holds one picture and the source has more; "
                f"name a folder ({self._path.with_suffix('')}/) or a video instead"
            )
        self._pixels = frame.pixels

    def close(self) -> None:
        """Write the picture; closing twice is fine.

        Raises:
            IncompleteError: No frame came, so there is no output.
            OutputError: The disk is full or the place cannot be written.
        """
        if self._is_over:
            return
        self._is_over = True
        if self._pixels is None:
            raise IncompleteError(f"no frame reached {self._path}; nothing was written")
        check_still_free(self._path, force=self._force)
        write_picture(self._path, self._pixels)

    def abort(self) -> None:
        """Forget the frame; does nothing after ``close``."""
        self._is_over = True


def open_picture_folder(path: Path, options: SinkOptions) -> PictureFolderSink:
    """Open a folder output; only ``options.force`` matters to it."""
    return PictureFolderSink(path, force=options.force)


def open_picture_file(path: Path, options: SinkOptions) -> PictureFileSink:
    """Open an output of one picture; only ``options.force`` matters to it."""
    return PictureFileSink(path, force=options.force)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that counts digits as numbers: ``a2`` before ``a10``.

    Example:
        >>> sorted(["a10", "a9", "A1"], key=natural_key)
        ['A1', 'a9', 'a10']
    """
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def _pictures_of(path: Path) -> list[Path]:
    if is_pattern(path):
        files = [file for file in path.parent.glob(path.name) if is_picture(file) and file.is_file()]
        if not files:
            raise SourceError(f"no picture fits {path}; check the pattern, and quote it against the shell")
        return sorted(files, key=lambda file: (natural_key(file.name), file.name))
    if not path.exists():
        raise SourceError(f"no picture or folder at {path}; check the path")
    if not path.is_dir():
        return [path]
    files = [file for file in path.iterdir() if is_picture(file) and file.is_file() and file.name[0] != "."]
    if not files:
        raise SourceError(f"no picture in {path}; expected files ending in {', '.join(sorted(PICTURE_SUFFIXES))}")
    return sorted(files, key=lambda file: (natural_key(file.name), file.name))


def _check_holds_pictures(path: Path) -> None:
    """Keep ``--force`` from wiping a folder that was never an output of ours."""
    others = [file.name for file in path.iterdir() if not is_picture(file)] if path.exists() else []
    if others:
        raise OutputError(f"{path} holds more than pictures ({min(others)}) and is not replaced; choose another folder")


def _replace_folder(new: Path, old: Path) -> None:
    """Move ``new`` to ``old``, which is set aside first, so that a failure never loses both."""
    if not old.exists():
        new.replace(old)
        return
    aside = old.with_name(f"{old.name}.old.part")
    shutil.rmtree(aside, ignore_errors=True)
    old.replace(aside)
    try:
        new.replace(old)
    except OSError:
        aside.replace(old)
        raise
    shutil.rmtree(aside, ignore_errors=True)
