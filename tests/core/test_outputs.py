from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from deblurrt.core.errors import OutputError
from deblurrt.core.outputs import check_output, check_still_free, output_error, part_of


def test_part_lies_beside_its_output() -> None:
    assert part_of(Path("a/b.mp4")) == Path("a/b.mp4.part")


def test_free_place_is_accepted(tmp_path: Path) -> None:
    check_output(tmp_path / "a.mp4", force=False)
    check_output(tmp_path / "a", force=False, is_folder=True)


def test_empty_folder_counts_as_free_for_a_folder(tmp_path: Path) -> None:
    check_output(tmp_path, force=False, is_folder=True)


@pytest.mark.parametrize("name", ["a.mp4", "a.mp4.part"])
def test_what_is_there_is_refused_unless_forced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(OutputError, match="--force"):
        check_output(tmp_path / "a.mp4", force=False)
    check_output(tmp_path / "a.mp4", force=True)


def test_folder_for_a_file_and_file_for_a_folder_are_refused_even_when_forced(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a folder and the output is a file"):
        check_output(tmp_path, force=True)
    with pytest.raises(OutputError, match="is a file and the output is a folder"):
        check_output(tmp_path / "file", force=True, is_folder=True)


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist; create it first"):
        check_output(tmp_path / "none" / "a.mp4", force=True)


def test_place_taken_meanwhile_is_refused(tmp_path: Path) -> None:
    check_still_free(tmp_path / "a", force=False)
    (tmp_path / "a").touch()
    with pytest.raises(OutputError, match="exists already"):
        check_still_free(tmp_path / "a", force=False)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_every_way_to_run_out_of_space_is_called_disk_full(number: int) -> None:
    error = output_error(Path("a.mp4"), OSError(number, os.strerror(number)))
    assert str(error).startswith("disk full while writing a.mp4")
    assert error.exit_code == 7


def test_other_failures_are_named() -> None:
    assert "Permission denied" in str(output_error(Path("a.mp4"), PermissionError(13, "Permission denied")))
