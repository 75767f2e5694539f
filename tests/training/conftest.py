from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from deblurrt.core.pictures import write_picture
from deblurrt.datasets import opencv
from deblurrt.training.material import find_material
from deblurrt.training.pool import PoolConfig, build_pool

Pixels = NDArray[np.uint8]

#: crops so small that everything is made in seconds
SIDE_PX = 48


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def texture(size: tuple[int, int], seed: int) -> Pixels:
    coarse = np.random.default_rng(seed).uniform(20, 250, (size[0] // 5, size[1] // 5, 3)).astype(np.float32)
    pixels: Pixels = np.rint(opencv.enlarge(coarse, size)).astype(np.uint8)
    return pixels


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stills, a clip of nine frames, seven pairs in sequence, one single pair."""
    root = tmp_path_factory.mktemp("data")

    def put(name: str, pixels: Pixels) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_picture(root / name, pixels)

    for index in range(3):
        put(f"stills/still{index}.png", texture((160, 180), index))
    wide = texture((100, 200), 10)
    for index in range(9):
        put(f"clip/{index:04d}.png", wide[20:84, 60 - 3 * index : 160 - 3 * index])
    for index in range(7):
        sharp = texture((64, 80), 20 + index)
        blurred = opencv.filter_with(sharp.astype(np.float32), np.full((1, 7), 1 / 7, np.float32))
        put(f"walk/sharp/{index:04d}.png", sharp)
        put(f"walk/blur/{index:04d}.png", np.rint(blurred).astype(np.uint8))
    put("street/sharp.png", texture((64, 80), 30))
    put("street/blur.png", texture((64, 80), 31))
    return root


@pytest.fixture(scope="session")
def pool_config() -> PoolConfig:
    return PoolConfig(side_px=SIDE_PX, camera=3, field=3, straight=3, seed=1)


@pytest.fixture(scope="session")
def pool_folder(tmp_path_factory: pytest.TempPathFactory, data: Path, pool_config: PoolConfig) -> Path:
    """A small pool of every kind of crop; tests only read it."""
    folder = tmp_path_factory.mktemp("pool")
    build_pool(find_material([data]), pool_config, folder, 1, lambda kind, done, total: None)
    return folder
