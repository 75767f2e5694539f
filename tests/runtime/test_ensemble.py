"""Ensembles on any backend."""

from __future__ import annotations

import numpy as np
import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import UsageError
from deblurrt.core.tensors import Array, TensorSpec
from deblurrt.runtime.ensemble import QUARTER_OVERLAP_PX, ensemble_backend
from deblurrt.runtime.session import Session
from tests.fakes import FakeBackend

FLOAT = FrameContract(io="float", multiple=4)
FLOATS = TensorSpec("frames", "float32", ("batch", 3, "height", "width"))
NOISE = np.random.default_rng(0)


def float_backend(compute: object) -> FakeBackend:
    given = TensorSpec("restored", "float32", FLOATS.shape)
    return FakeBackend(compute, FLOATS, given)  # type: ignore[arg-type]


def columns_counted(frames: Array) -> Array:
    """Add to every value its column: a network that no symmetry leaves alone."""
    return frames + np.arange(frames.shape[-1], dtype=np.float32)


def sum_of_neighbours(frames: Array) -> Array:
    """Commutes with every flip and rotation."""
    padded = np.pad(frames, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    inner = [slice(0, -2), slice(1, -1), slice(2, None)]
    total = np.zeros_like(frames)
    for rows, columns in [(0, 1), (1, 0), (1, 2), (2, 1)]:
        total += padded[..., inner[rows], inner[columns]]
    return total


@pytest.mark.parametrize("kind", ["x4", "x8"])
def test_ensemble_of_an_equivariant_network_is_the_network(kind: str) -> None:
    frames = NOISE.integers(0, 256, (1, 3, 8, 12)).astype(np.float32)
    ensemble = ensemble_backend(float_backend(sum_of_neighbours), FLOAT, [kind])
    assert np.array_equal(ensemble.run({"frames": frames})["restored"], sum_of_neighbours(frames))


def test_x8_is_the_mean_of_all_eight_looks() -> None:
    frames = np.zeros((1, 3, 4, 6), np.float32)
    backend = float_backend(columns_counted)
    restored = ensemble_backend(backend, FLOAT, ["x8"]).run({"frames": frames})["restored"]
    # half of the looks count columns from either side, half count rows
    assert np.all(restored == (5 / 2 + 3 / 2) / 2)
    assert [look.shape[-2:] for look in backend.seen] == [(4, 6)] * 4 + [(6, 4)] * 4


def test_bytes_are_averaged_and_rounded() -> None:
    backend = FakeBackend(lambda frames: frames + (np.arange(frames.shape[2]) == 0)[:, None].astype(np.uint8))
    session = Session(ensemble_backend(backend, FrameContract(), ["x4"]), FrameContract())
    restored = session.restore(np.full((4, 4, 3), 10, np.uint8))
    # corners are first in a row in two of four looks, 10.5 rounds to even; others in one or none
    assert np.all(restored == 10)
    assert restored.dtype == np.uint8


@pytest.mark.parametrize("size", [(720, 1280), (100, 132), (8, 8)])
def test_quarters_join_without_seams_or_gaps(size: tuple[int, int]) -> None:
    frames = NOISE.random((1, 3, *size), dtype=np.float32)
    joined = ensemble_backend(float_backend(lambda x: x * 2), FLOAT, ["quarters"]).run({"frames": frames})["restored"]
    assert np.array_equal(joined, frames * 2)


def test_quarters_of_720p_have_the_official_size() -> None:
    backend = float_backend(lambda x: x)
    ensemble_backend(backend, FLOAT, ["quarters"]).run({"frames": np.zeros((1, 3, 720, 1280), np.float32)})
    assert [part.shape[-2:] for part in backend.seen] == [(396, 676)] * 4


def test_quarters_of_a_large_picture_are_quartered_again() -> None:
    backend = float_backend(lambda x: x)
    ensemble_backend(backend, FLOAT, ["quarters"]).run({"frames": np.zeros((1, 3, 1280, 1000), np.float32)})
    assert len(backend.seen) == 16


def test_each_quarter_is_kept_up_to_the_middle() -> None:
    parts: list[Array] = []

    def numbered(frames: Array) -> Array:
        parts.append(frames)
        return np.full_like(frames, len(parts))

    frames = np.zeros((1, 3, 200, 160), np.float32)
    joined = ensemble_backend(float_backend(numbered), FLOAT, ["quarters"]).run({"frames": frames})["restored"]
    assert parts[0].shape[-2:] == (100 + QUARTER_OVERLAP_PX, 80 + QUARTER_OVERLAP_PX)
    assert [joined[0, 0, row, column] for row in (99, 100) for column in (79, 80)] == [1, 2, 3, 4]


def test_quarters_keep_the_place_of_enlarged_parts() -> None:
    contract = FrameContract(task="deblur_sr", scale=4, io="float")
    backend = float_backend(lambda x: x.repeat(4, axis=-1).repeat(4, axis=-2))
    frames = NOISE.random((1, 3, 90, 110), dtype=np.float32)
    joined = ensemble_backend(backend, contract, ["quarters"]).run({"frames": frames})["restored"]
    assert np.array_equal(joined, frames.repeat(4, axis=-1).repeat(4, axis=-2))


def test_flips_go_around_quarters() -> None:
    backend = float_backend(lambda x: x)
    ensemble_backend(backend, FLOAT, ["x8", "quarters"]).run({"frames": np.zeros((1, 3, 8, 8), np.float32)})
    assert len(backend.seen) == 32


@pytest.mark.parametrize(("kinds", "message"), [(["x9"], "no ensemble called x9"), (["x4", "x8"], "x8 contains x4")])
def test_impossible_ensembles_are_refused(kinds: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ensemble_backend(float_backend(lambda x: x), FLOAT, kinds)
