from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deblurrt.core.errors import ContractError, InputError
from deblurrt.training.batches import KINDS, CropPool
from deblurrt.training.recipe import DEFAULT_SHARES

SHARES = {kind: first for kind, (first, _) in DEFAULT_SHARES.items()}


@pytest.fixture
def opposite_pool(tmp_path: Path) -> CropPool:
    """Random crops whose blurred twin is their negative, so that every pixel knows its partner."""
    sharp = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), dtype=np.uint8)
    np.save(tmp_path / "real.npy", np.stack([sharp, 255 - sharp], axis=1))
    return CropPool(tmp_path, seed=0)


def test_batch_has_the_shape_and_range_of_the_network(pool_folder: Path) -> None:
    blurred, sharp, kinds = CropPool(pool_folder, 0).batch(5, 32, SHARES)
    assert blurred.shape == sharp.shape == (5, 3, 32, 32)
    assert blurred.dtype == sharp.dtype == torch.float32
    assert 0 <= float(blurred.min()) <= float(blurred.max()) <= 1
    assert blurred.is_contiguous(memory_format=torch.channels_last)
    assert len(kinds) == 5


def test_every_kind_is_drawn(pool_folder: Path) -> None:
    _, _, kinds = CropPool(pool_folder, 0).batch(200, 16, SHARES)
    assert set(kinds) == {*KINDS, "sharp"}


def test_sharp_kind_is_the_identity(pool_folder: Path) -> None:
    blurred, sharp, kinds = CropPool(pool_folder, 0).batch(8, 32, {"sharp": 1.0})
    assert kinds == ["sharp"] * 8
    assert torch.equal(blurred, sharp)


def test_both_pictures_are_cut_turned_and_coloured_alike(opposite_pool: CropPool) -> None:
    blurred, sharp, _ = opposite_pool.batch(16, 24, {"real": 1.0})
    torch.testing.assert_close(blurred + sharp, torch.ones_like(sharp), rtol=0, atol=1e-6)


def test_kinds_the_pool_lacks_leave_their_share_to_the_others(opposite_pool: CropPool) -> None:
    _, _, kinds = opposite_pool.batch(20, 24, {"real": 0.1, "camera": 0.9})
    assert set(kinds) == {"real"}


def test_same_seed_draws_the_same_patches(pool_folder: Path) -> None:
    first, second = (CropPool(pool_folder, 7).batch(4, 16, SHARES) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert first[2] == second[2]


def test_resumed_pool_does_not_repeat_its_beginning(pool_folder: Path) -> None:
    fresh, resumed, again = (CropPool(pool_folder, 7) for _ in range(3))
    resumed.restart(100)
    again.restart(100)
    patches = [pool.batch(4, 16, SHARES)[0] for pool in (fresh, resumed, again)]
    assert not torch.equal(patches[0], patches[1])
    assert torch.equal(patches[1], patches[2])


def test_folder_without_crops_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", np.zeros((0, 2, 1, 1, 3), np.uint8))
    with pytest.raises(InputError, match="no training crops in"):
        CropPool(tmp_path, 0)


def test_patches_larger_than_the_crops_are_refused(opposite_pool: CropPool) -> None:
    with pytest.raises(ContractError, match="patches of 48 px do not fit crops of 40 px"):
        opposite_pool.batch(1, 48, {"real": 1.0})
