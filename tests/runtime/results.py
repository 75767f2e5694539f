"""Results for the tests of sinks."""

from __future__ import annotations

import numpy as np

from deblurrt.runtime.frame import Frame
from deblurrt.runtime.terminal import Result, Terminal


def result(
    seq: int, size: tuple[int, int] = (6, 8), *, stream: str = "camera", state: Terminal = Terminal.DEBLURRED
) -> Result:
    """A result whose untouched and restored pictures are noise of their own."""
    rng = np.random.default_rng(seq)
    untouched, restored = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    frame = Frame(untouched, seq, 1_000 * seq, stream, epoch=2)
    return Result(frame, restored if state is Terminal.DEBLURRED else untouched, state, "why")
