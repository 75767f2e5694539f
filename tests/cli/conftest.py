"""What the command's tests share: the command itself, and a small clip."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from deblurrt.cli.main import main

Deblurrt = Callable[..., int]

SIZE = (48, 64)
FRAMES = 12


@pytest.fixture
def deblurrt(monkeypatch: pytest.MonkeyPatch) -> Deblurrt:
    """Run the command in this process and return its exit code."""

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["deblurrt", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    return call


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 12 frames, 48 by 64, of a drifting pattern."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for index in range(FRAMES):
            grey = (127 + 100 * np.sin((columns + 3 * index) / 5) * np.cos(rows / 7)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, axis=2), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
