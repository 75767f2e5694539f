"""Tiles equal the whole frame, or the difference is agreed to, measured and said."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import BackendError, UsageError
from deblurrt.core.tensors import Array, TensorSpec
from deblurrt.models import create_model
from deblurrt.models.network import DeblurNetwork
from deblurrt.models.torch_backend import TorchBackend
from deblurrt.runtime.backend import Backend, BackendConfig
from deblurrt.runtime.ensemble import ensemble_backend
from deblurrt.runtime.frame import Pixels
from deblurrt.runtime.session import Session, SessionConfig, open_session, prepare
from deblurrt.runtime.tile_plan import Size
from deblurrt.runtime.tiling import TileConfig, tiled_backend
from tests.fakes import FRAMES, RESTORED, WINDOWS, FakeBackend
from tests.tiny_graphs import write_identity

CPU = BackendConfig("fp32", threads=1)
#: PyTorch picks its convolution by size, so sums run in another order; half a halo too little costs 100 times more
FLOAT_TOLERANCE = 1e-5
#: the network of ``blocks``
BLOCK = 4
BLOCKS = FrameContract(multiple=BLOCK, min_size=BLOCK, halo_px=2 * BLOCK - 1)


def structured_picture(height: int, width: int, seed: int = 0) -> Pixels:
    """Squares of six pixels with noise on them: edges for the networks to work on."""
    rng = np.random.default_rng(seed)
    squares = rng.integers(10, 246, (height // 6 + 1, width // 6 + 1, 3)).repeat(6, 0).repeat(6, 1)
    return (squares[:height, :width] + rng.integers(-10, 10, (height, width, 3))).astype(np.uint8)


def blocks(frames: Array) -> Array:
    """A network of bytes: each block of 4x4 becomes the mean of itself and its eight neighbours.

    It fills up to the multiple by reflection and cuts off again, as files with byte frames do.
    """
    height, width = frames.shape[1:3]
    fill = (-height % BLOCK, -width % BLOCK)
    padded = np.pad(frames.astype(np.int64), ((0, 0), (0, fill[0]), (0, fill[1]), (0, 0)), mode="reflect")
    rows, columns = padded.shape[1] // BLOCK, padded.shape[2] // BLOCK
    sums = padded.reshape(-1, rows, BLOCK, columns, BLOCK, 3).sum((2, 4))
    around = np.pad(sums, ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = sum(around[:, y : y + rows, x : x + columns] for y in range(3) for x in range(3)) // (9 * BLOCK**2)
    return np.asarray(total).repeat(BLOCK, 1).repeat(BLOCK, 2)[:, :height, :width].astype(np.uint8)


def moving_blocks(windows: Array) -> Array:
    """The same for three frames: the current one's blocks, a quarter of them from its neighbours."""
    before, current, after = (blocks(windows[:, index]).astype(np.int64) for index in range(3))
    return ((before + 6 * current + after) // 8).astype(np.uint8)


class Enlarger(DeblurNetwork):
    """Three frames in, one four times as large out; reaches five pixels far, from even places."""

    contract = FrameContract(task="deblur_sr", window=3, scale=4, multiple=2, halo_px=5, io="float")

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(36, 8, 3, padding=1), nn.Conv2d(8, 3 * 64, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        features = functional.relu(self.first(functional.pixel_unshuffle(frames, 2)))
        return functional.pixel_shuffle(self.last(features), 8)


class Mean(DeblurNetwork):
    """Adds the mean of the frame: no tile knows it."""

    contract = FrameContract(io="float", multiple=4)

    def forward(self, frames: Tensor) -> Tensor:
        return frames / 2 + frames.mean((2, 3), keepdim=True) / 4


def tiled_session(backend: Backend, contract: FrameContract, size: Size, inexact: int | None = None) -> Session:
    return Session(tiled_backend(backend, contract, TileConfig(size, inexact)), contract)


@pytest.mark.parametrize("model", ["default", "fast"])
@pytest.mark.parametrize(("size", "tile"), [((487, 520), (400, 600)), ((390, 450), (384, 400))])
def test_shipped_models_restore_tiles_as_they_restore_the_whole(model: str, size: Size, tile: Size) -> None:
    pixels = structured_picture(*size)
    with open_session(model, SessionConfig(backend="onnxruntime", options=CPU)) as whole:
        expected = whole.restore(pixels)
    config = SessionConfig(backend="onnxruntime", options=CPU, tile=TileConfig(tile))
    with open_session(model, config) as session:
        np.testing.assert_array_equal(session.restore(pixels), expected)
        assert re.search(r", \d+ tiles of \d+x\d+, \d\.\d\d times the pixels$", session.backend.description)


NETWORKS: list[tuple[str, dict[str, Any], Size, Size]] = [
    ("carlo_net", {"channels": 6}, (97, 143), (64, 80)),
    ("atrous_net", {"blocks": 2, "channels": 8, "in_frames": 3}, (150, 202), (80, 120)),
    ("kaist_net", {"channels": 4, "in_frames": 3}, (552, 96), (528, 96)),
]


def network_and_frames(name: str, options: dict[str, Any], size: Size) -> tuple[TorchBackend, FrameContract, Array]:
    network = Enlarger() if name == "enlarger" else create_model(name, **options)
    contract = network.contract
    frames = np.random.default_rng(0).random((1, 3 * contract.window, *size), np.float32)
    return TorchBackend(network, contract, CPU), contract, frames


@pytest.mark.parametrize(("name", "options", "size", "tile"), [*NETWORKS, ("enlarger", {}, (38, 54), (20, 18))])
def test_networks_of_finite_halo_restore_tiles_as_they_restore_the_whole(
    name: str, options: dict[str, Any], size: Size, tile: Size
) -> None:
    backend, contract, frames = network_and_frames(name, options, size)
    expected = backend.run({"frames": frames})["restored"]
    restored = tiled_backend(backend, contract, TileConfig(tile)).run({"frames": frames})["restored"]
    assert restored.shape == expected.shape
    np.testing.assert_allclose(restored, expected, rtol=0, atol=FLOAT_TOLERANCE)


# kaist_net is left out: what it sees beyond half of its halo is below rounding with random weights
@pytest.mark.parametrize(("name", "options", "size", "tile"), [*NETWORKS[:2], ("enlarger", {}, (38, 54), (20, 18))])
def test_half_the_halo_is_not_enough(name: str, options: dict[str, Any], size: Size, tile: Size) -> None:
    backend, contract, frames = network_and_frames(name, options, size)
    assert isinstance(contract.halo_px, int)
    expected = backend.run({"frames": frames})["restored"]
    tiled = tiled_backend(backend, contract, TileConfig(tile, contract.halo_px // 2))
    assert np.abs(tiled.run({"frames": frames})["restored"] - expected).max() > 100 * FLOAT_TOLERANCE


@pytest.mark.parametrize("size", [(40, 48), (41, 47), (103, 26), (23, 90), (7, 101)])
@pytest.mark.parametrize("tile", [(24, 24), (27, 35), (40, 21)])
def test_bytes_of_any_size_are_exact(size: Size, tile: Size) -> None:
    pixels = structured_picture(*size)
    backend = FakeBackend(blocks)
    restored = tiled_session(backend, BLOCKS, tile).restore(pixels)
    np.testing.assert_array_equal(restored, Session(FakeBackend(blocks), BLOCKS).restore(pixels))
    assert len({part.shape for part in backend.seen}) == 1


def test_windows_of_three_byte_frames_are_exact() -> None:
    contract = FrameContract(window=3, multiple=BLOCK, min_size=BLOCK, halo_px=2 * BLOCK - 1)
    window = [structured_picture(50, 45, seed) for seed in range(3)]
    whole = Session(FakeBackend(moving_blocks, WINDOWS), contract)
    tiled = tiled_session(FakeBackend(moving_blocks, WINDOWS), contract, (24, 28))
    order = (window[1], window[0], window[2])
    np.testing.assert_array_equal(tiled.restore(*order), whole.restore(*order))


def test_sizes_may_change_between_frames() -> None:
    tiled, whole = tiled_session(FakeBackend(blocks), BLOCKS, (24, 24)), Session(FakeBackend(blocks), BLOCKS)
    for size in [(40, 48), (20, 24), (33, 61), (40, 48)]:
        pixels = structured_picture(*size)
        np.testing.assert_array_equal(tiled.restore(pixels), whole.restore(pixels))


def test_frame_no_larger_than_a_tile_goes_through_whole() -> None:
    backend = FakeBackend(blocks)
    tiled_session(backend, BLOCKS, (64, 64)).restore(structured_picture(63, 50))
    assert [part.shape for part in backend.seen] == [(1, 63, 50, 3)]


def test_backend_is_prepared_for_a_tile() -> None:
    class Prepared(FakeBackend):
        def prepare(self, shapes: Any) -> None:
            self.shapes = dict(shapes)

    backend = Prepared(blocks)
    tiled_backend(backend, BLOCKS, TileConfig((24, 24))).prepare({"frames": (1, 40, 48, 3)})
    assert backend.shapes == {"frames": (1, 24, 24, 3)}


def test_closing_closes_the_backend() -> None:
    backend = FakeBackend(blocks)
    tiled_backend(backend, BLOCKS, TileConfig((24, 24))).close()
    assert backend.is_closed


def test_flips_go_around_tiles() -> None:
    def restored(backend: Backend) -> Pixels:
        return Session(ensemble_backend(backend, BLOCKS, ["x8"]), BLOCKS).restore(structured_picture(41, 47))

    tiled = tiled_backend(FakeBackend(blocks), BLOCKS, TileConfig((24, 24)))
    np.testing.assert_array_equal(restored(tiled), restored(FakeBackend(blocks)))


def test_too_small_tile_is_refused_with_the_smallest() -> None:
    with pytest.raises(UsageError, match=r"halo of 7 px on both sides, .* smallest tile for it is --tile 20x24"):
        tiled_session(FakeBackend(blocks), BLOCKS, (16, 24)).restore(structured_picture(40, 48))


def test_fixed_graph_takes_larger_frames_in_tiles_of_its_size(caplog: pytest.LogCaptureFixture) -> None:
    fixed = TensorSpec("frames", "uint8", (1, 24, 28, 3))
    backend = FakeBackend(blocks, fixed, fixed)
    pixels = structured_picture(39, 62)
    session = Session(tiled_backend(backend, BLOCKS, None), BLOCKS)
    assert session.backend.description == backend.description
    for _ in range(2):
        np.testing.assert_array_equal(session.restore(pixels), blocks(pixels[None])[0])
    assert [record.getMessage() for record in caplog.records] == [
        "the model takes 24x28, frames are 39x62: each is restored in 12 tiles of 24x28, 3.33 times the pixels"
    ]


def test_fixed_graph_of_several_frames_takes_several_in_tiles() -> None:
    fixed = TensorSpec("frames", "uint8", ("batch", 24, 28, 3))
    session = Session(tiled_backend(FakeBackend(blocks, fixed, fixed), BLOCKS, None), BLOCKS)
    pictures = [structured_picture(40, 60, seed) for seed in range(3)]
    for count in (1, 3, 2):
        restored = session.restore_batch(pictures[:count], [None] * count)
        np.testing.assert_array_equal(np.stack(restored), blocks(np.stack(pictures[:count])))


def test_file_of_fixed_size_takes_larger_frames(tmp_path: Path) -> None:
    path = write_identity(tmp_path / "fixed.onnx", FrameContract(halo_px=2), shape=(1, 24, 32, 3))
    pixels = structured_picture(51, 77)
    with open_session(path, SessionConfig(backend="onnxruntime", options=CPU)) as session:
        np.testing.assert_array_equal(session.restore(pixels), pixels)


def test_fixed_graph_refuses_tiles_of_another_size() -> None:
    fixed = TensorSpec("frames", "uint8", (1, 24, 28, 3))
    with pytest.raises(UsageError, match=r"^the tile is 24x24, the model takes 24x28 only; leave --tile out or export"):
        tiled_backend(FakeBackend(blocks, fixed, fixed), BLOCKS, TileConfig((24, 24)))


def test_fixed_graph_that_looks_at_whole_frames_refuses_larger_ones() -> None:
    fixed = TensorSpec("frames", "uint8", (1, 24, 28, 3))
    session = Session(tiled_backend(FakeBackend(taken=fixed, given=fixed), FrameContract(), None), FrameContract())
    session.restore(structured_picture(24, 28))
    with pytest.raises(UsageError, match=r"tiles never equal the whole frame .* --tile 24x28 --tile-inexact 64"):
        session.restore(structured_picture(24, 29))


def test_graph_of_any_size_is_left_as_it_is_without_tiles() -> None:
    backend = FakeBackend()
    assert tiled_backend(backend, BLOCKS, None) is backend


@pytest.mark.parametrize(
    ("halo", "reason"), [("global", "averages over the whole frame"), ("width", "does not bound its reach along the")]
)
def test_networks_without_a_finite_halo_are_refused(halo: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=f"{reason}.*its halo is '{halo}', expected pixels.*--tile-inexact 64"):
        tiled_backend(FakeBackend(), FrameContract(halo_px=halo), TileConfig((64, 64)))


def test_refused_file_is_not_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr("deblurrt.runtime.session.open_backend")
    path = write_identity(tmp_path / "whole.onnx", FrameContract())
    with pytest.raises(UsageError, match="tiles never equal the whole frame"):
        open_session(path, SessionConfig(tile=TileConfig((64, 64))))


def judged(session: Session, pixels: list[Pixels], caplog: pytest.LogCaptureFixture) -> list[str]:
    with caplog.at_level(logging.WARNING):
        for picture in pixels:
            session.restore(picture)
    return [record.getMessage() for record in caplog.records]


def test_agreed_error_is_measured_once_on_the_first_frame_that_shows_something(
    caplog: pytest.LogCaptureFixture,
) -> None:
    session = tiled_session(TorchBackend(Mean(), Mean.contract, CPU), Mean.contract, (32, 32), inexact=4)
    assert session.backend.description.endswith(", inexact tiles up to 32x32")
    session.warm_up((52, 56))
    assert caplog.records == []
    # the upper left is black, the rest white: four tiles of 32x32 have means far from the frame's
    pixels = np.full((52, 56, 3), 255, np.uint8)
    pixels[:26, :28] = 0
    (message,) = judged(session, [pixels, pixels], caplog)
    frames = prepare([pixels], Mean.contract)
    whole = TorchBackend(Mean(), Mean.contract, CPU).run({"frames": frames})["restored"]
    difference = 255 * (session.backend.run({"frames": frames})["restored"] - whole)
    largest, psnr_db = np.abs(difference).max(), 10 * np.log10(255**2 / np.mean(difference**2))
    assert message == (
        "4 tiles of 32x32, 1.41 times the pixels, with a halo of 4 px need not equal the whole frame: they differ by "
        f"up to {largest:.3g} of 255 levels, {psnr_db:.1f} dB (measured on 52x56 px of the first frame)"
    )
    assert largest > 20


def test_error_is_measured_on_the_middle_four_tiles_of_many(caplog: pytest.LogCaptureFixture) -> None:
    backend = FakeBackend(lambda frames: frames // 2 + (frames.mean() / 4).astype(np.uint8))
    session = tiled_session(backend, FrameContract(), (20, 20), inexact=2)
    (message,) = judged(session, [structured_picture(84, 84)], caplog)
    assert message.startswith("25 tiles of 20x20")
    assert "measured on 36x36 px of the first frame" in message
    assert backend.seen[-1].shape == (1, 36, 36, 3)


def test_smaller_halo_than_the_contract_is_measured_too(caplog: pytest.LogCaptureFixture) -> None:
    (message,) = judged(tiled_session(FakeBackend(blocks), BLOCKS, (24, 24), 0), [structured_picture(40, 48)], caplog)
    assert re.search(
        r"halo of 0 px need not equal the whole frame: they differ by up to \d+ of 255 levels, [\d.]+ dB", message
    )


def test_halo_as_large_as_the_contract_is_exact_and_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert judged(tiled_session(FakeBackend(blocks), BLOCKS, (24, 24), 64), [structured_picture(40, 48)], caplog) == []


def test_network_that_tiles_do_not_harm_is_said_to_show_none(caplog: pytest.LogCaptureFixture) -> None:
    (message,) = judged(
        tiled_session(FakeBackend(), FrameContract(), (16, 16), 2), [structured_picture(20, 20)], caplog
    )
    assert message.endswith("no difference was found (measured on 20x20 px of the first frame)")


def test_region_too_large_for_memory_is_said_and_the_frame_restored(caplog: pytest.LogCaptureFixture) -> None:
    def small_only(frames: Array) -> Array:
        if frames.shape[1] > 16:
            raise BackendError("no memory")
        return frames

    pixels = structured_picture(20, 20)
    session = tiled_session(FakeBackend(small_only), FrameContract(), (16, 16), 2)
    (message,) = judged(session, [pixels], caplog)
    assert message.endswith("the error could not be measured (no memory)")
    np.testing.assert_array_equal(session.restore(pixels), pixels)


def test_error_of_a_fixed_graph_is_said_not_to_be_measurable(caplog: pytest.LogCaptureFixture) -> None:
    fixed = TensorSpec("frames", "uint8", (1, 16, 16, 3))
    session = tiled_session(FakeBackend(taken=fixed, given=fixed), FrameContract(), (16, 16), 2)
    messages = judged(session, [structured_picture(20, 20)], caplog)
    assert messages[-1].endswith("the error cannot be measured with a model of a fixed size")


def test_specs_of_a_tiled_backend_name_its_axes() -> None:
    fixed = TensorSpec("frames", "uint8", (1, 24, 28, 3))
    given = TensorSpec("restored", "uint8", (1, 24, 28, 3))
    backend = tiled_backend(FakeBackend(blocks, fixed, given), BLOCKS, None)
    assert (backend.inputs[0].shape, backend.outputs[0].shape) == ((1, *FRAMES.shape[1:]), (1, *RESTORED.shape[1:]))
