"""Several pictures in one run: the same bytes as one after the other, and who takes how many."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import ContractError
from deblurrt.core.tensors import Array, TensorSpec
from deblurrt.runtime.backend import BackendConfig
from deblurrt.runtime.frame import Pixels
from deblurrt.runtime.session import Session, SessionConfig, open_session
from deblurrt.runtime.tiling import TileConfig
from tests.fakes import FRAMES, RESTORED, WINDOWS, FakeBackend, fake_session
from tests.live_fakes import textured
from tests.tiny_graphs import write_conv, write_identity

SIZE = (40, 56)
#: convolutions of a batch may add up in another order than those of one picture, which rounds otherwise
TOLERANCE_LEVELS = 1
BACKENDS = ["onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else [])]


def config(backend: str, tile: TileConfig | None = None) -> SessionConfig:
    return SessionConfig(backend=backend, options=BackendConfig(threads=1), tile=tile)


def pictures(count: int, size: tuple[int, int] = SIZE) -> list[Pixels]:
    noise = np.random.default_rng(0).integers(-9, 10, (count, *size, 3))
    return [(textured(seq, size) + noise[seq]).astype(np.uint8) for seq in range(count)]


def moved(picture: Pixels) -> Pixels:
    """The picture blurred as by a camera that moves to the side."""
    blurred: Pixels = np.mean([np.roll(picture, shift, 1) for shift in range(9)], axis=0).astype(np.uint8)
    return blurred


def one_by_one(session: Session, given: list[Pixels], previous: list[Pixels | None]) -> list[Pixels]:
    return [session.restore(*pair) for pair in zip(given, previous, strict=True)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_batch_of_a_small_network_is_exactly_its_pictures_one_by_one(tmp_path: Path, backend: str, count: int) -> None:
    kernel = np.random.default_rng(1).normal(0, 0.2, (3, 3, 3, 3)).astype(np.float32)
    contract = FrameContract(io="float", multiple=8, min_size=8, halo_px=1)
    given, alone = pictures(count), [None] * count
    for path in (write_conv(tmp_path / "conv.onnx", kernel, contract), "identity"):
        with open_session(path, config(backend)) as session:
            batch = session.restore_batch(given, alone)
            expected = one_by_one(session, given, list(alone))
        assert len(batch) == count
        for restored, wanted in zip(batch, expected, strict=True):
            np.testing.assert_array_equal(restored, wanted)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("model", ["default", "fast"])
def test_batch_of_a_shipped_network_is_its_pictures_one_by_one(backend: str, model: str) -> None:
    given = [moved(textured(seq, (96, 128))) for seq in range(3)]
    with open_session(model, config(backend)) as session:
        expected = one_by_one(session, given, [None] * 3)
        batch = session.restore_batch(given, [None] * 3)
    for restored, wanted, pixels in zip(batch, expected, given, strict=True):
        assert np.abs(restored.astype(int) - wanted).max() <= TOLERANCE_LEVELS
        assert np.abs(restored.astype(int) - pixels).max() > TOLERANCE_LEVELS


def middle(windows: Array) -> Array:
    taken: Array = windows[:, 1]
    return taken


def test_every_picture_of_a_batch_has_its_own_frame_before() -> None:
    given, (before, *_) = pictures(3), pictures(4)[3:]
    backend = FakeBackend(middle, WINDOWS)
    restored = Session(backend, FrameContract(window=3)).restore_batch(given, [None, before, None])
    assert backend.seen[0].shape == (3, 3, *SIZE, 3)
    for index, first in enumerate((given[0], before, given[2])):
        window = [first, given[index], given[index]]
        np.testing.assert_array_equal(backend.seen[0][index], np.stack(window))
        np.testing.assert_array_equal(restored[index], given[index])


def test_windows_of_a_float_batch_lie_in_its_channels() -> None:
    taken = TensorSpec("frames", "float32", ("batch", 9, "height", "width"))
    given = TensorSpec("restored", "float32", ("batch", 3, "height", "width"))
    backend = FakeBackend(lambda frames: frames[:, 3:6], taken, given)
    contract = FrameContract(window=3, io="float", range="0..255")
    plain = [np.full((2, 3, 3), level, np.uint8) for level in (2, 5, 1, 4)]
    restored = Session(backend, contract).restore_batch(plain[:2], plain[2:])
    assert backend.seen[0][:, ::3, 0, 0].tolist() == [[1, 2, 2], [4, 5, 5]]
    for picture, wanted in zip(restored, plain[:2], strict=True):
        np.testing.assert_array_equal(picture, wanted)


def test_small_and_odd_pictures_of_a_batch_are_filled_up_and_cut_as_one_is() -> None:
    backend = FakeBackend()
    given = pictures(2, (5, 7))
    restored = Session(backend, FrameContract(multiple=8, min_size=16)).restore_batch(given, [None] * 2)
    assert backend.seen[0].shape == (2, 16, 16, 3)
    np.testing.assert_array_equal(np.stack(restored), np.stack(given))


def test_pictures_of_a_batch_are_new_memory() -> None:
    restored = fake_session().restore_batch(pictures(2), [None] * 2)
    assert not any(np.shares_memory(picture, given) for picture in restored for given in pictures(2))
    assert not np.shares_memory(restored[0], restored[1])


def test_session_says_how_many_pictures_one_run_takes(tmp_path: Path) -> None:
    fixed = write_identity(tmp_path / "one.onnx", FrameContract(), shape=(1, "height", "width", 3))
    with open_session("identity", config("onnxruntime")) as session:
        assert session.batch_max is None
    with open_session(fixed, config("onnxruntime")) as session:
        assert session.batch_max == 1
        with pytest.raises(ContractError, match="the network expects uint8"):
            session.restore_batch(pictures(2), [None] * 2)


def test_tiled_session_takes_one_picture_at_a_time() -> None:
    with open_session("default", config("onnxruntime", TileConfig((512, 512)))) as session:
        assert session.batch_max == 1


def test_pictures_of_different_sizes_are_no_batch() -> None:
    with pytest.raises(ContractError, match=re.escape("sizes [(4, 6), (6, 4)], expected one size")):
        fake_session().restore_batch([*pictures(1, (6, 4)), *pictures(1, (4, 6))], [None] * 2)


def test_network_that_gives_another_number_of_pictures_is_refused() -> None:
    session = Session(FakeBackend(lambda frames: frames[:1], FRAMES, RESTORED), FrameContract())
    with pytest.raises(ContractError, match="the network gave 1 pictures, expected 2"):
        session.restore_batch(pictures(2), [None] * 2)
