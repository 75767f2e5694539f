"""Stand-ins for the seams of the runtime: a backend, a source and a sink that live in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from deblurrt.core.contract import FrameContract
from deblurrt.core.tensors import Array, TensorSpec, check_inputs
from deblurrt.runtime.frame import Frame, Pixels
from deblurrt.runtime.session import Session
from deblurrt.runtime.sources import SourceInfo

#: what a network of one frame takes and gives
FRAMES = TensorSpec("frames", "uint8", ("batch", "height", "width", 3))
RESTORED = TensorSpec("restored", "uint8", ("batch", "height", "width", 3))
#: the same for three frames
WINDOWS = TensorSpec("frames", "uint8", ("batch", 3, "height", "width", 3))


def unchanged(array: Array) -> Array:
    return array


class FakeBackend:
    """Runs a Python function as network and keeps what it was given."""

    name = "fake"
    description = "fake, 1 threads"

    def __init__(
        self,
        compute: Callable[[Array], Array] = unchanged,
        taken: TensorSpec = FRAMES,
        given: TensorSpec = RESTORED,
    ) -> None:
        self.inputs, self.outputs = (taken,), (given,)
        self.seen: list[Array] = []
        self.is_closed = False
        self._compute = compute

    def prepare(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        pass

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        check_inputs(self.inputs, arrays)
        array = arrays[self.inputs[0].name]
        self.seen.append(array)
        return {self.outputs[0].name: self._compute(array)}

    def close(self) -> None:
        self.is_closed = True


def fake_session(compute: Callable[[Array], Array] = unchanged) -> Session:
    """A session of one frame around a function."""
    return Session(FakeBackend(compute), FrameContract(), "fake")


def plain_frame(seq: int, size: tuple[int, int] = (2, 3), epoch: int = 0) -> Frame:
    """A frame whose every value is its number."""
    return Frame(np.full((*size, 3), seq % 256, np.uint8), seq, 0, stream="list", epoch=epoch)


def plain_frames(count: int) -> list[Frame]:
    return [plain_frame(seq) for seq in range(count)]


class ListSource:
    """Gives frames from memory; afterwards, or where ``frames`` itself fails, an error if wanted."""

    def __init__(self, frames: Iterable[Frame], error: BaseException | None = None) -> None:
        self.info = SourceInfo("list", (2, 3))
        self.is_closed = False
        self._frames, self._error = frames, error

    def __iter__(self) -> Iterator[Frame]:
        yield from self._frames
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.is_closed = True


def nothing(_frame: Frame) -> None:
    pass


class KeptSink:
    """Keeps frames in memory and remembers how it ended.

    Attributes:
        frames: What was written.
        end: ``""`` while open, then ``"closed"`` or ``"aborted"``.
    """

    def __init__(self, name: str = "kept", on_write: Callable[[Frame], None] = nothing) -> None:
        self.path = Path(name)
        self.frames: list[Frame] = []
        self.end = ""
        self._on_write = on_write

    @property
    def pictures(self) -> list[Pixels]:
        return [frame.pixels for frame in self.frames]

    def write(self, frame: Frame) -> None:
        self._on_write(frame)
        self.frames.append(frame)

    def close(self) -> None:
        self.end = self.end or "closed"

    def abort(self) -> None:
        self.end = self.end or "aborted"
