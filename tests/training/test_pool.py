from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deblurrt.core.errors import InputError
from deblurrt.core.pictures import read_picture, write_picture
from deblurrt.training.batches import KINDS
from deblurrt.training.material import find_material
from deblurrt.training.pool import PoolConfig, build_pool

Crops = NDArray[np.uint8]


def silent(kind: str, done: int, total: int) -> None:
    """Take no notice of the progress."""


def crops_of(folder: Path, kind: str) -> Crops:
    crops: Crops = np.load(folder / f"{kind}.npy")
    return crops


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_made_as_pairs_of_squares(pool_folder: Path, pool_config: PoolConfig, kind: str) -> None:
    crops = crops_of(pool_folder, kind)
    assert len(crops) > 0
    assert crops.shape[1:] == (2, pool_config.side_px, pool_config.side_px, 3)
    assert crops.dtype == np.uint8


@pytest.mark.parametrize("kind", ["camera", "field", "straight"])
def test_synthesised_crops_are_as_many_as_asked(pool_folder: Path, pool_config: PoolConfig, kind: str) -> None:
    assert len(crops_of(pool_folder, kind)) == getattr(pool_config, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_sharp_comes_first(pool_folder: Path, kind: str) -> None:
    sharp, blurred = crops_of(pool_folder, kind).astype(float).swapaxes(0, 1)
    assert np.diff(sharp, axis=2).var() > np.diff(blurred, axis=2).var()


def test_real_crops_are_tiles_of_the_pairs_trained_on(pool_folder: Path, pool_config: PoolConfig, data: Path) -> None:
    pairs = find_material([data]).pairs
    crops, side = crops_of(pool_folder, "real"), pool_config.side_px
    # 64x80 pictures hold two rows and two columns of overlapping squares
    assert len(crops) == 4 * len(pairs)
    np.testing.assert_array_equal(crops[0, 0], read_picture(pairs[0].sharp)[:side, :side])
    np.testing.assert_array_equal(crops[-1, 1], read_picture(pairs[-1].blurred)[-side:, -side:])


def test_second_build_of_one_plan_makes_nothing_again(
    pool_folder: Path, pool_config: PoolConfig, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in pool_folder.glob("*.npy")}
    monkeypatch.setattr("deblurrt.training.pool.ProcessPoolExecutor", None)
    build_pool(find_material([data]), pool_config, pool_folder, 1, silent)
    assert {path: path.stat().st_mtime_ns for path in pool_folder.glob("*.npy")} == before


def test_same_seed_makes_the_same_crops_and_another_plan_replaces_them(
    pool_folder: Path, pool_config: PoolConfig, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "camera.npy").write_bytes(b"of another plan")
    config = replace(pool_config, camera=0, field=0)
    build_pool(find_material([data]), config, tmp_path, 1, silent)
    assert not (tmp_path / "camera.npy").exists()
    np.testing.assert_array_equal(crops_of(tmp_path, "straight"), crops_of(pool_folder, "straight"))


def test_stills_alone_give_no_crops_of_measured_motion_and_say_so(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = PoolConfig(side_px=32, camera=0, field=2, straight=1)
    with caplog.at_level(logging.WARNING):
        build_pool(find_material([data / "stills"]), config, tmp_path, 1, silent)
    assert "no crops are made from measured motion" in caplog.text
    assert not (tmp_path / "field.npy").exists()
    assert len(crops_of(tmp_path, "straight")) == 1


def test_stills_that_are_all_too_small_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "small.png", np.zeros((100, 100, 3), np.uint8))
    config = PoolConfig(side_px=32, camera=0, field=0, straight=1)
    with pytest.raises(InputError, match="none of 1 sharp pictures is 128x128 or larger"):
        build_pool(find_material([tmp_path]), config, tmp_path / "pool", 1, silent)
