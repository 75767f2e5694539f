from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.errors import SourceError, UsageError
from deblurrt.runtime import shm_ring
from deblurrt.runtime.shm_ring import HEAD_BYTES, SLOTS, ShmReader, ShmRing, path_of, remove_orphans
from deblurrt.runtime.terminal import Terminal

from .results import result

pytestmark = pytest.mark.skipif(not shm_ring.FOLDER.is_dir(), reason="there is no /dev/shm")


@pytest.fixture
def name() -> Iterator[str]:
    unique = f"test-{uuid.uuid4().hex}"
    yield unique
    path_of(unique).unlink(missing_ok=True)


def test_reader_gets_the_newest_picture_and_what_belongs_to_it(name: str) -> None:
    ring = ShmRing(name)
    with ShmReader(name) as reader:
        assert reader.newest() is None
        for seq in range(7):
            ring.write(result(seq, stream="rtsp://camera.lan/ä", state=Terminal.DEBLURRED))
        frame = reader.newest()
        assert frame is not None
        assert np.array_equal(frame.pixels, result(6).restored)
        assert (frame.number, frame.seq, frame.epoch, frame.t_capture_ns) == (7, 6, 2, 6000)
        assert (frame.state, frame.stream) == ("deblurred", "rtsp://camera.lan/ä")
        assert reader.newest() is None
    ring.close()


def test_nothing_is_left_after_closing(name: str) -> None:
    ring = ShmRing(name)
    ring.write(result(0))
    assert path_of(name).exists()
    ring.close()
    ring.close()
    assert list(shm_ring.FOLDER.glob(f"*{name}*")) == []


def test_reader_follows_a_larger_picture_and_a_new_writer(name: str) -> None:
    reader = ShmReader(name)
    sizes = []
    for size in ((6, 8), (60, 80), (4, 4)):
        ring = ShmRing(name)
        ring.write(result(0, (6, 8)))
        ring.write(result(1, size))
        frame = reader.wait(5.0)
        assert frame is not None
        sizes.append(frame.pixels.shape[:2])
        ring.close()
        assert reader.newest() is None
    reader.close()
    assert sizes == [(6, 8), (60, 80), (4, 4)]


def test_reader_never_gets_half_a_picture(name: str) -> None:
    """Every picture is of one grey level; a mixture of two would show."""
    ring, stop = ShmRing(name), threading.Event()

    def write() -> None:
        seq = 0
        while not stop.is_set():
            shown = result(seq, (40, 50))
            shown.restored[:] = seq % 256
            ring.write(shown)
            seq += 1

    writer = threading.Thread(target=write)
    writer.start()
    torn = numbers = 0
    with ShmReader(name) as reader:
        while numbers < 200:
            frame = reader.wait(5.0)
            assert frame is not None
            numbers += 1
            torn += int(frame.pixels.min() != frame.pixels.max() or frame.pixels.flat[0] != frame.seq % 256)
    stop.set()
    writer.join()
    ring.close()
    assert torn == 0


@pytest.mark.parametrize("damage", ["counter", "pixels"])
def test_picture_that_is_being_written_is_not_given(name: str, damage: str) -> None:
    ring = ShmRing(name)
    ring.write(result(0))
    with path_of(name).open("r+b") as file:
        file.seek(HEAD_BYTES + (0 if damage == "counter" else shm_ring.SLOT_BYTES + 5))
        file.write(struct.pack("<Q", 3) if damage == "counter" else b"\x00\xff")
    with ShmReader(name) as reader:
        assert reader.newest() is None
        ring.write(result(1))
        frame = reader.newest()
        assert frame is not None
        assert frame.seq == 1
    ring.close()


def test_slow_reader_sees_how_many_it_lost(name: str) -> None:
    ring = ShmRing(name)
    numbers = []
    with ShmReader(name) as reader:
        for count in (1, 2, SLOTS + 3):
            for seq in range(count):
                ring.write(result(seq))
            frame = reader.newest()
            assert frame is not None
            numbers.append(frame.number)
    ring.close()
    assert numbers == [1, 3, SLOTS + 6]


def test_living_writer_keeps_its_name(name: str) -> None:
    ring = ShmRing(name)
    ring.write(result(0))
    assert path_of(name) not in remove_orphans()
    with pytest.raises(UsageError, match=r"another program writes .*; choose another name"):
        ShmRing(name)
    ring.close()


@pytest.mark.fault("R4", "writer of a ring in shared memory killed", "the next run removes it, and nothing else")
def test_ring_of_a_killed_writer_is_removed_by_the_next_and_foreign_memory_is_not(name: str) -> None:
    code = (
        "import sys, time, numpy as np\n"
        "from deblurrt.runtime.frame import Frame\n"
        "from deblurrt.runtime.shm_ring import ShmRing\n"
        "from deblurrt.runtime.terminal import Result, Terminal\n"
        "pixels = np.zeros((4, 4, 3), np.uint8)\n"
        "ShmRing(sys.argv[1]).write(Result(Frame(pixels, 9, 0), pixels, Terminal.DEBLURRED))\n"
        "print('written', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        reader = ShmReader(name)
        frame = reader.newest()
        assert frame is not None
        assert frame.seq == 9
        writer.send_signal(signal.SIGKILL)
    foreign = shm_ring.FOLDER / f"foreign-{name}"
    foreign.touch()
    try:
        assert path_of(name).exists()
        ring = ShmRing(name)
        assert (path_of(name).exists(), foreign.exists()) == (False, True)
        ring.write(result(1))
        assert reader.newest() is None
        frame = reader.newest()
        assert frame is not None
        assert frame.seq == 1
        ring.close()
    finally:
        reader.close()
        foreign.unlink()


def test_something_else_of_that_name_is_not_read(name: str) -> None:
    path_of(name).write_bytes(os.urandom(8192))
    with pytest.raises(SourceError, match="is no ring of version 1"):
        ShmReader(name).newest()


@pytest.mark.parametrize("bad", ["", "../x", "a/b", ".hidden", "a b", "ä", "x" * 101])
def test_names_that_could_lead_elsewhere_are_refused(bad: str) -> None:
    with pytest.raises(UsageError, match="is no name for shared memory"):
        ShmRing(bad)


def test_layout_is_as_documented() -> None:
    """Programs in other languages rely on it; a change needs another version."""
    assert (shm_ring.HEAD.size, shm_ring.SLOT.size, shm_ring.SLOT_BYTES) == (36, 200, 256)
    assert Path(shm_ring.FOLDER, "deblurrt-front") == path_of("front")
