"""CIFAR-10 files: both forms give the same pictures, and the pickled one runs nothing."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.core.errors import SourceError
from deblurrt.datasets.cifar import RECORD_BYTES, CifarReader, count_pictures

Pixels = NDArray[np.uint8]

PLANES = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)


def write_binary(path: Path) -> None:
    path.write_bytes(b"".join(b"\x07" + row.tobytes() for row in PLANES))


def write_by_python_2(path: Path) -> None:
    """The bytes Python 2 and NumPy 1 wrote: byte strings, protocol 2, the inner module's old name."""
    rows, size = PLANES.shape[0], struct.pack("<i", PLANES.nbytes)
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    state = b"(K\x01" + b"K" + bytes([rows]) + b"M\x00\x0c\x86" + kind + b"\x89T" + size + PLANES.tobytes() + b"tb"
    path.write_bytes(b"\x80\x02}(U\x0bbatch_labelU\x0etesting batch U\x04data" + empty + state + b"u.")


def write_by_python_3(path: Path) -> None:
    path.write_bytes(pickle.dumps({"data": PLANES, "labels": [1, 2, 3]}, protocol=4))


@pytest.fixture(params=[write_binary, write_by_python_2, write_by_python_3])
def batch(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write: Callable[[Path], None] = request.param
    path = tmp_path / ("test_batch.bin" if write is write_binary else "test_batch")
    write(path)
    return path


def test_pictures_are_counted(batch: Path) -> None:
    assert count_pictures(batch) == 3


@pytest.mark.parametrize("row", [0, 2])
def test_planes_become_pixels(batch: Path, row: int) -> None:
    pixels = CifarReader(row)(batch)
    np.testing.assert_array_equal(pixels, PLANES[row].reshape(3, 32, 32).transpose(1, 2, 0))
    assert pixels.flags.c_contiguous


def test_picture_past_the_end_is_refused(batch: Path) -> None:
    with pytest.raises(SourceError, match="holds no picture 3"):
        CifarReader(3)(batch)


def test_array_kept_column_by_column_is_read_right(tmp_path: Path) -> None:
    (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": np.asfortranarray(PLANES)}, protocol=4))
    np.testing.assert_array_equal(CifarReader(1)(tmp_path / "test_batch")[0, 0], PLANES[1, [0, 1024, 2048]])


def test_binary_file_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(bytes(RECORD_BYTES - 1))
    with pytest.raises(SourceError, match="has 3072 bytes, expected a multiple of 3073"):
        count_pictures(tmp_path / "test_batch.bin")


class Malicious:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.mkdir, (self.place,)


def test_code_in_a_pickle_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "test_batch"
    path.write_bytes(pickle.dumps({"data": Malicious(tmp_path / "made")}))
    with pytest.raises(SourceError, match=r"it names .*, expected an array of bytes alone"):
        count_pictures(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("content", "reason"), [
    (b"", "Ran out of input"),
    (b"\x80\x02}", "is no readable CIFAR-10 batch"),
    (pickle.dumps([1, 2]), "is no readable CIFAR-10 batch"),
    (pickle.dumps({"labels": [1]}), "it holds no array called data"),
    (pickle.dumps({"data": PLANES[:, :100].copy()}, protocol=4), r"u1\[3, 100\], expected u1\[pictures, 3072\]"),
    (pickle.dumps({"data": PLANES.astype(np.float32)}, protocol=4), r"f4\[3, 3072\], expected u1"),
])  # fmt: skip
def test_other_pickles_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        count_pictures(tmp_path / "test_batch")
