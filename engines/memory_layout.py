"""How values share memory: the two ways in which TensorRT-RTX 1.7 lays them out, found from its figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory of a value from the kernel that gives it to the last that reads it.

    Attributes:
        name: Of the value; empty for what a kernel needs for its work.
        bytes: Its size.
        born: Number of the first kernel that writes it; kernels run in order of their numbers.
        dead: Number of the last kernel that uses it.
        users: Kernels that use it, a bit for each.
        done: Kernels that are certainly over when it is born, a bit for each.
    """

    name: str
    bytes: int
    born: int
    dead: int
    users: int
    done: int

    def meets(self, other: Buffer) -> bool:
        """Whether both may be needed at once."""
        return bool(self.users & ~other.done and other.users & ~self.done)


def shared_bytes(buffers: Sequence[Buffer]) -> int:
    """Share places among buffers that never meet, where no place can be split; gives the sum of the places.

    Largest first, each to the first place that is free; of equals the first in ``buffers``.
    """
    places: list[list[Buffer]] = []
    for buffer in sorted(buffers, key=lambda entry: -entry.bytes):
        for place in places:
            if not any(buffer.meets(other) for other in place):
                place.append(buffer)
                break
        else:
            places.append([buffer])
    return sum(place[0].bytes for place in places)


def packed_bytes(buffers: Iterable[Buffer]) -> int:
    """Pack buffers into one block in order of time, kernels running one by one; gives the size of the block.

    Each takes the smallest gap it fits, and the block grows only where none does.
    """
    living: list[tuple[int, int, Buffer]] = []
    top = 0
    for buffer in sorted(buffers, key=lambda entry: entry.born):
        living = [entry for entry in living if entry[2].dead >= buffer.born]
        gaps = [gap for gap in _gaps(living, top) if gap[1] - gap[0] >= buffer.bytes]
        last = max((end for _, end, _ in living), default=0)
        start = min(gaps, key=lambda gap: gap[1] - gap[0])[0] if gaps else last
        living.append((start, start + buffer.bytes, buffer))
        top = max(top, start + buffer.bytes)
    return top


def _gaps(living: Iterable[tuple[int, int, Buffer]], top: int) -> Iterator[tuple[int, int]]:
    start = 0
    for begin, end, _ in sorted(living, key=lambda entry: entry[0]):
        if begin > start:
            yield start, begin
        start = max(start, end)
    if top > start:
        yield start, top
