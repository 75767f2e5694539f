from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.core.pictures import write_picture
from deblurrt.datasets import opencv


@pytest.fixture(scope="session")
def photograph() -> NDArray[np.uint8]:
    """Coarse and fine random texture, 200x280, without the darkest codes."""
    rng = np.random.default_rng(1)
    coarse = opencv.enlarge(rng.uniform(0, 1, (20, 28, 3)).astype(np.float32), (200, 280))
    fine = opencv.enlarge(rng.uniform(0, 1, (66, 93, 3)).astype(np.float32), (200, 280))
    pixels: NDArray[np.uint8] = np.rint(30 + 120 * coarse + 90 * fine).astype(np.uint8)
    return pixels


def put_picture(path: Path, size: tuple[int, int] = (16, 24), value: int | None = None) -> None:
    """Write a grey picture, or one of noise that depends on the path's last two parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = list(f"{path.parent.name}/{path.stem}".encode())
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    write_picture(path, noise if value is None else np.full((*size, 3), value, np.uint8))


@pytest.fixture(scope="session")
def put() -> Callable[..., None]:
    return put_picture
