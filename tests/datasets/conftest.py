from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.datasets import opencv


@pytest.fixture(scope="session")
def photograph() -> NDArray[np.uint8]:
    """Coarse and fine random texture, 200x280, without the darkest codes."""
    rng = np.random.default_rng(1)
    coarse = opencv.enlarge(rng.uniform(0, 1, (20, 28, 3)).astype(np.float32), (200, 280))
    fine = opencv.enlarge(rng.uniform(0, 1, (66, 93, 3)).astype(np.float32), (200, 280))
    pixels: NDArray[np.uint8] = np.rint(30 + 120 * coarse + 90 * fine).astype(np.uint8)
    return pixels
