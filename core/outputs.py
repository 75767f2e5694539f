"""Output files and folders: checked before the work, moved into place after it."""

from __future__ import annotations

import errno
from pathlib import Path

from .errors import OutputError

#: what the operating system says where a file cannot grow: no space, quota, size limit
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def part_of(path: Path) -> Path:
    """Name the place, beside ``path``, where its output grows until it is whole."""
    return path.with_name(f"{path.name}.part")


def check_output(path: Path, *, force: bool, is_folder: bool = False) -> None:
    """Refuse a place that cannot or must not be written, before any work is done.

    An existing empty folder counts as free. What an interrupted run left beside ``path`` may be
    the only recording there is, so it is refused like the output itself.

    Args:
        path: Final place of the output.
        force: Whether something of the same kind may be replaced.
        is_folder: Whether the output is a folder.

    Raises:
        OutputError: The folder around it is missing, something of another kind is there, or
            something is there already and ``force`` is not set.
    """
    if path.name in ("", ".."):
        raise OutputError(f"{path} is no name for an output; name a new file or folder inside it")
    if not path.parent.is_dir():
        raise OutputError(
            f"the folder {path.parent} of output {path.name} does not exist; create it first: mkdir -p {path.parent}"
        )
    if path.exists() and path.is_dir() != is_folder:
        there, wanted = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
        raise OutputError(f"{path} is {there} and the output is {wanted}; choose another name")
    check_still_free(path, force=force)
    check_no_part(path, force=force)


def check_no_part(path: Path, *, force: bool) -> None:
    """Refuse to write over what an interrupted run left of ``path``, unless ``force`` is set.

    Raises:
        OutputError: Something is there.
    """
    if not force and part_of(path).exists():
        raise OutputError(
            f"{part_of(path)} is left of an interrupted run, or another run writes it; "
            "move it away or pass --force to replace it"
        )


def check_still_free(path: Path, *, force: bool) -> None:
    """Refuse to replace what is at ``path``, unless ``force`` is set or it is an empty folder.

    Raises:
        OutputError: Something is there.
    """
    if not force and path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise OutputError(f"{path} exists already; choose another name or pass --force to replace it")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place and rename it, so that nobody ever sees half of it.

    Raises:
        OutputError: The disk is full or the place cannot be written; what was there is untouched.
    """
    part = part_of(path)
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise output_error(path, error) from error


def output_error(path: Path, error: Exception) -> OutputError:
    """Say what stopped the writing of ``path``; raise it ``from error``.

    Args:
        path: Final place of the output.
        error: Of the operating system or of FFmpeg; both carry ``errno`` and ``strerror``.
    """
    reason = getattr(error, "strerror", None) or str(error)
    if getattr(error, "errno", None) in DISK_FULL:
        return OutputError(f"disk full while writing {path} ({reason}); free some space and run it again")
    return OutputError(f"{path} cannot be written ({reason}); check the folder and its permissions")
