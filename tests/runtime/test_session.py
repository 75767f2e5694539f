from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import ContractError, ModelFileError
from deblurrt.core.tensors import Array, TensorSpec
from deblurrt.runtime import session as session_module
from deblurrt.runtime.backend import BackendConfig
from deblurrt.runtime.frame import Pixels
from deblurrt.runtime.session import Session, SessionConfig, open_session
from tests.fakes import FRAMES, RESTORED, WINDOWS, FakeBackend, fake_session
from tests.tiny_graphs import BYTE_FRAMES, FLOAT_FRAMES, FLOATS, value, write_conv, write_graph, write_identity

CPU = SessionConfig(backend="onnxruntime", options=BackendConfig(threads=1))

FLOAT_TAKEN = TensorSpec("frames", "float32", ("batch", 3, "height", "width"))
FLOAT_GIVEN = TensorSpec("restored", "float32", ("batch", 3, "height", "width"))


def random_picture(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def plain_picture(number: int) -> Pixels:
    return np.full((2, 3, 3), number, np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (3, 5), (101, 53)])
def test_identity_restores_pictures_of_any_size_unchanged(size: tuple[int, int]) -> None:
    pixels = random_picture(*size)
    with open_session("identity", CPU) as session:
        np.testing.assert_array_equal(session.restore(pixels), pixels)


def test_picture_that_is_not_contiguous_is_restored_right() -> None:
    pixels = random_picture(200, 300)[:, 50:250]
    with open_session("identity", CPU) as session:
        np.testing.assert_array_equal(session.restore(pixels), pixels)


def test_restored_picture_is_new_memory() -> None:
    first, second = random_picture(4, 6, seed=1), random_picture(4, 6, seed=2)
    with open_session("identity", CPU) as session:
        restored = session.restore(first)
        session.restore(second)
    np.testing.assert_array_equal(restored, first)
    assert not np.shares_memory(restored, first)


def test_fake_network_that_returns_its_input_still_gives_new_memory() -> None:
    pixels = random_picture(4, 6)
    assert not np.shares_memory(fake_session().restore(pixels), pixels)


@pytest.mark.parametrize(("size", "grown"), [((3, 5), (16, 16)), ((3, 40), (16, 40)), ((16, 17), (16, 17))])
def test_picture_below_min_size_is_filled_up_by_repeating_its_edge(
    size: tuple[int, int], grown: tuple[int, int]
) -> None:
    pixels, backend = random_picture(*size), FakeBackend()
    restored = Session(backend, FrameContract(multiple=8, min_size=16)).restore(pixels)
    rows = np.minimum(np.arange(grown[0]), size[0] - 1)
    columns = np.minimum(np.arange(grown[1]), size[1] - 1)
    np.testing.assert_array_equal(backend.seen[0][0], pixels[rows][:, columns])
    np.testing.assert_array_equal(restored, pixels)


def shift_left() -> NDArray[np.float32]:
    """A kernel that shows, at every pixel, its right neighbour, with red and blue exchanged."""
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    kernel[[0, 1, 2], [2, 1, 0], 1, 2] = 1
    return kernel


@pytest.mark.parametrize("value_range", ["0..1", "0..255"])
def test_float_network_gets_frames_padded_by_reflection(tmp_path: Path, value_range: str) -> None:
    contract = FrameContract.from_json(f'{{"io": "float", "multiple": 4, "halo_px": 1, "range": "{value_range}"}}')
    pixels = random_picture(5, 6)
    with open_session(write_conv(tmp_path / "shift.onnx", shift_left(), contract), CPU) as session:
        restored = session.restore(pixels)
    # behind the last column, 5, reflection shows column 4 again
    np.testing.assert_array_equal(restored, pixels[:, [1, 2, 3, 4, 5, 4], ::-1])
    assert restored.flags.c_contiguous


def test_float_network_of_one_pixel_works(tmp_path: Path) -> None:
    contract = FrameContract(io="float", multiple=4, min_size=4, halo_px=1)
    pixels = random_picture(1, 1)
    with open_session(write_conv(tmp_path / "shift.onnx", shift_left(), contract), CPU) as session:
        np.testing.assert_array_equal(session.restore(pixels), pixels[:, :, ::-1])


@pytest.mark.parametrize(("value_range", "peak"), [("0..1", 1), ("0..255", 255)])
def test_range_decides_what_white_is_to_a_float_network(value_range: str, peak: float) -> None:
    backend = FakeBackend(taken=FLOAT_TAKEN, given=FLOAT_GIVEN)
    contract = FrameContract.from_json(f'{{"io": "float", "range": "{value_range}"}}')
    Session(backend, contract).restore(np.full((2, 2, 3), 255, np.uint8))
    (seen,) = backend.seen
    assert seen.dtype == np.float32
    assert seen.flags.c_contiguous
    assert np.all(seen == peak)


def test_float_output_is_clamped_and_rounded() -> None:
    levels = np.array([-9.0, -0.4, 0.6, 127.4, 254.6, 255.4, 300.0], np.float32)

    def compute(_frames: Array) -> Array:
        return np.broadcast_to(levels / 255, (1, 3, 1, 7)).astype(np.float32)

    session = Session(FakeBackend(compute, FLOAT_TAKEN, FLOAT_GIVEN), FrameContract(io="float"))
    restored = session.restore(random_picture(1, 7))
    np.testing.assert_array_equal(restored[0, :, 0], [0, 0, 1, 127, 255, 255, 255])


def middle(windows: Array) -> Array:
    middle_frame: Array = windows[:, 1]
    return middle_frame


@pytest.mark.parametrize(
    ("previous", "following", "order"),
    [(1, 3, [1, 2, 3]), (None, 3, [2, 2, 3]), (1, None, [1, 2, 2]), (None, None, [2, 2, 2])],
)
def test_window_is_previous_current_next_and_repeats_the_frame_at_the_ends(
    previous: int | None, following: int | None, order: list[int]
) -> None:
    before, after = (None if number is None else plain_picture(number) for number in (previous, following))
    backend = FakeBackend(middle, WINDOWS)
    restored = Session(backend, FrameContract(window=3)).restore(plain_picture(2), before, after)
    assert backend.seen[0].shape == (1, 3, 2, 3, 3)
    assert backend.seen[0][0, :, 0, 0, 0].tolist() == order
    np.testing.assert_array_equal(restored, plain_picture(2))


def test_float_window_lies_in_the_channels() -> None:
    taken = TensorSpec("frames", "float32", ("batch", 9, "height", "width"))
    backend = FakeBackend(lambda frames: frames[:, 3:6], taken, FLOAT_GIVEN)
    contract = FrameContract(window=3, io="float", range="0..255")
    pictures = [plain_picture(number) for number in (2, 1, 3)]
    np.testing.assert_array_equal(Session(backend, contract).restore(*pictures), pictures[0])
    assert backend.seen[0][0, :, 0, 0].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_network_of_one_frame_ignores_neighbours() -> None:
    pixels = random_picture(2, 3)
    restored = fake_session().restore(pixels, random_picture(2, 3, 1), random_picture(2, 3, 2))
    np.testing.assert_array_equal(restored, pixels)


def enlarge(frames: Array) -> Array:
    enlarged: Array = frames.repeat(4, axis=1).repeat(4, axis=2)
    return enlarged


def test_enlarging_network_gives_four_times_the_size_without_its_filling() -> None:
    pixels = random_picture(3, 5)
    contract = FrameContract(task="deblur_sr", scale=4, multiple=8, min_size=8)
    restored = Session(FakeBackend(enlarge), contract).restore(pixels)
    np.testing.assert_array_equal(restored, pixels.repeat(4, axis=0).repeat(4, axis=1))


def test_output_smaller_than_promised_is_refused() -> None:
    session = Session(FakeBackend(), FrameContract(task="deblur_sr", scale=4))
    with pytest.raises(ContractError, match=re.escape("the network gave [3, 5, 3], expected at least [12, 20, 3]")):
        session.restore(random_picture(3, 5))


@pytest.mark.parametrize(
    ("pixels", "got"),
    [
        (np.zeros((2, 3, 3)), "float64[2, 3, 3]"),
        (np.zeros((2, 3), np.uint8), "uint8[2, 3]"),
        (np.zeros((2, 3, 1), np.uint8), "uint8[2, 3, 1]"),
        (np.zeros((2, 3, 4), np.uint8), "uint8[2, 3, 4]"),
        (np.zeros((0, 3, 3), np.uint8), "uint8[0, 3, 3]"),
        (np.zeros((1, 2, 3, 3), np.uint8), "uint8[1, 2, 3, 3]"),
    ],
)
def test_array_that_is_no_picture_is_refused(pixels: Array, got: str) -> None:
    with pytest.raises(ContractError) as caught:
        fake_session().restore(pixels)
    assert str(caught.value) == f"the picture is {got}, expected uint8[height, width, 3]"


def test_neighbour_of_another_size_or_type_is_refused() -> None:
    session = Session(FakeBackend(middle, WINDOWS), FrameContract(window=3))
    with pytest.raises(ContractError, match=re.escape("a neighbouring frame is [4, 3, 3], the frame itself [2, 3, 3]")):
        session.restore(random_picture(2, 3), random_picture(4, 3))
    with pytest.raises(ContractError, match="the picture is float64"):
        session.restore(random_picture(2, 3), None, np.zeros((2, 3, 3)))  # type: ignore[arg-type]


def test_warming_up_runs_once_at_the_size() -> None:
    backend = FakeBackend()
    Session(backend, FrameContract()).warm_up((20, 30))
    assert [array.shape for array in backend.seen] == [(1, 20, 30, 3)]


def test_leaving_the_session_closes_its_backend() -> None:
    backend = FakeBackend()
    with Session(backend, FrameContract()) as session:
        pass
    session.close()
    assert backend.is_closed


GRAY = TensorSpec("frames", "uint8", ("batch", "height", "width", 1))
UNFIT = [
    (FrameContract(), GRAY, RESTORED, f"'frames' is {GRAY.describe()}, frames need {FRAMES.describe()}"),
    (FrameContract(), FLOAT_TAKEN, RESTORED, f"'frames' is {FLOAT_TAKEN.describe()}, frames need {FRAMES.describe()}"),
    (FrameContract(), FRAMES, FLOAT_GIVEN, f"'restored' is {FLOAT_GIVEN.describe()}, frames need {FRAMES.describe()}"),
    (
        FrameContract(io="float"),
        FRAMES,
        RESTORED,
        f"'frames' is {FRAMES.describe()}, frames need {FLOAT_TAKEN.describe()}",
    ),
    (FrameContract(window=3), FRAMES, RESTORED, f"'frames' is {FRAMES.describe()}, frames need {WINDOWS.describe()}"),
    (FrameContract(), WINDOWS, RESTORED, f"'frames' is {WINDOWS.describe()}, frames need {FRAMES.describe()}"),
    (
        FrameContract(io="float", window=3),
        FLOAT_TAKEN,
        FLOAT_GIVEN,
        f"'frames' is {FLOAT_TAKEN.describe()}, frames need float32['batch', 9, 'height', 'width']",
    ),
]


@pytest.mark.parametrize(("contract", "taken", "given", "problem"), UNFIT)
def test_graph_that_breaks_its_contract_is_refused(
    contract: FrameContract, taken: TensorSpec, given: TensorSpec, problem: str
) -> None:
    with pytest.raises(ModelFileError) as caught:
        Session(FakeBackend(taken=taken, given=given), contract, "mine.onnx")
    assert str(caught.value) == f"mine.onnx: {problem}"


def test_graph_of_fixed_size_fits_its_contract() -> None:
    fixed = TensorSpec("frames", "uint8", (1, 720, 1280, 3))
    Session(FakeBackend(taken=fixed, given=fixed), FrameContract())


def test_file_with_two_inputs_is_refused(tmp_path: Path) -> None:
    values = [value("frames"), value("more")], [value("restored")]
    node = helper.make_node("Max", ["frames", "more"], ["restored"])
    path = write_graph(tmp_path / "two.onnx", [node], values, contract=FrameContract().to_json())
    with pytest.raises(ModelFileError, match=r"^two\.onnx has 2 inputs and 1 outputs, expected one of each$"):
        open_session(path, CPU)


@pytest.mark.parametrize(
    ("kind", "shape", "io"),
    [(FLOATS, FLOAT_FRAMES, "uint8"), (FLOATS, BYTE_FRAMES, "uint8"), (FLOATS, BYTE_FRAMES, "float")],
)
def test_file_that_breaks_its_contract_is_refused_before_a_backend_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int, shape: tuple[int | str, ...], io: str
) -> None:
    monkeypatch.delattr(session_module, "open_backend")
    contract = FrameContract.from_json(f'{{"io": "{io}"}}')
    with pytest.raises(ModelFileError, match=r"^unfit\.onnx: 'frames' is float32"):
        open_session(write_identity(tmp_path / "unfit.onnx", contract, kind, shape), CPU)


def test_file_without_contract_is_refused_with_what_it_takes(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        open_session(write_identity(tmp_path / "bare.onnx"), CPU)
    assert str(caught.value) == (
        "bare.onnx does not say what it needs of frames (no contract in its metadata; it takes frames "
        "uint8['batch', 'height', 'width', 3]); write it with deblurrt"
    )


def test_session_is_named_after_its_model(tmp_path: Path) -> None:
    path = write_identity(tmp_path / "mine.onnx", FrameContract())
    for model, name in (("identity", "identity"), (path, "mine.onnx"), (str(path), str(path))):
        with open_session(model, CPU) as session:
            assert session.model == name
