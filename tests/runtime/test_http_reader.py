from __future__ import annotations

import random

import pytest

from deblurrt.runtime.http_reader import JpegSplitter
from tests.servers.mjpeg_server import jpeg_of

from .clips import noise_frames

PICTURES = [jpeg_of(picture) for picture in noise_frames(6, (48, 64))]


def split(data: bytes, rng: random.Random | None = None) -> list[bytes]:
    """What the splitter gives for data that comes in pieces of any size."""
    splitter, found, place = JpegSplitter(), list[bytes](), 0
    while place < len(data):
        size = rng.randint(1, 700) if rng else len(data)
        found += splitter.split(data[place : place + size])
        place += size
    return found


def with_thumbnail(picture: bytes, thumbnail: bytes) -> bytes:
    """A picture that holds another one in its EXIF segment."""
    return picture[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + picture[2:]


@pytest.mark.parametrize("between", [b"", b"\r\n--frame\r\nContent-Length: 5\r\n\r\n", b"\xff\xd8\xff\xd8 noise \xff"])
@pytest.mark.parametrize("seed", range(5))
def test_pictures_are_found_whatever_stands_between(between: bytes, seed: int) -> None:
    data = between + between.join(PICTURES)
    assert split(data, random.Random(seed)) == PICTURES


def test_a_picture_is_given_as_soon_as_it_is_whole() -> None:
    assert list(JpegSplitter().split(b"--frame\r\n\r\n" + PICTURES[0])) == [PICTURES[0]]


def test_a_thumbnail_is_no_picture() -> None:
    picture = with_thumbnail(PICTURES[0], PICTURES[1])
    assert split(picture + PICTURES[2], random.Random(0)) == [picture, PICTURES[2]]


def test_a_picture_that_was_cut_off_does_not_take_the_next_with_it() -> None:
    data = PICTURES[0][: len(PICTURES[0]) // 2] + b"\r\n--frame\r\n\r\n" + PICTURES[1] + PICTURES[2]
    assert split(data)[-1] == PICTURES[2]


@pytest.mark.parametrize("seed", range(20))
def test_noise_does_no_harm(seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(b"".join(PICTURES))
    for _ in range(40):
        data[rng.randrange(len(data))] = rng.randrange(256)
    # a damaged segment may claim 64 KiB of what follows
    assert split(bytes(data) + PICTURES[0] * 50, rng)[-1] == PICTURES[0]


def test_starts_without_end_take_no_time() -> None:
    assert split(b"\xff\xd8" * 200_000 + PICTURES[0]) == PICTURES[:1]


def test_memory_is_bounded_without_pictures() -> None:
    splitter = JpegSplitter()
    for _ in range(100):
        assert list(splitter.split(b"x" * 65536)) == []
    assert len(splitter._buffer) < 10
