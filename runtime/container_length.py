"""Whether a video file ends before the end its own container declares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

#: top-level boxes of MP4 and MOV; anything else behind them is a trailer some camera appended
_BOXES = frozenset(
    b"ftyp moov mdat free skip wide moof mfra styp sidx ssix uuid meta udta pnot emsg prft".split(),
)
_BOX_HEADER_BYTES = 8
_MATROSKA_MAGIC, _MATROSKA_SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
#: writers disagree on whether a RIFF chunk counts its padding and its own header
_RIFF_SLACK_BYTES = 8


def missing_bytes(path: Path) -> int:
    """Count the bytes by which the file falls short of what its container declares.

    Looks at the outermost lengths only: MP4 and MOV boxes, the Matroska segment, RIFF chunks (AVI).

    Returns:
        0 where nothing is missing or the container declares no length.
    """
    with path.open("rb") as file:
        magic = file.read(_BOX_HEADER_BYTES)
        declared_end = _reader_of(magic)(file)  # 0 from all of them for a file of another kind
    return max(0, declared_end - path.stat().st_size)


def _reader_of(magic: bytes) -> Callable[[BinaryIO], int]:
    if magic[4:] in _BOXES:
        return _end_of_boxes
    if magic.startswith(_MATROSKA_MAGIC):
        return _end_of_matroska
    return _end_of_riff


def _end_of_boxes(file: BinaryIO) -> int:
    end = 0
    while True:
        file.seek(end)
        header = file.read(2 * _BOX_HEADER_BYTES)
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if kind not in _BOXES or size < _BOX_HEADER_BYTES:
            return end
        end += size


def _end_of_matroska(file: BinaryIO) -> int:
    file.seek(len(_MATROSKA_MAGIC))
    file.seek(_ebml_size(file) or 0, 1)
    if file.read(len(_MATROSKA_SEGMENT)) != _MATROSKA_SEGMENT:
        return 0
    size = _ebml_size(file)
    return 0 if size is None else file.tell() + size


def _ebml_size(file: BinaryIO) -> int | None:
    """Read a variable-length number; None for the all-ones value that means "unknown"."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(length - 1), "big") & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else value


def _end_of_riff(file: BinaryIO) -> int:
    end = 0
    while True:
        file.seek(end)
        header = file.read(_BOX_HEADER_BYTES)
        size = int.from_bytes(header[4:], "little")
        if header[:4] != b"RIFF" or not size:
            return max(0, end - _RIFF_SLACK_BYTES)
        end += _BOX_HEADER_BYTES + size
