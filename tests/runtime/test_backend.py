from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from deblurrt.core.artifacts import OnnxFile, open_onnx
from deblurrt.core.errors import BackendError, ContractError, MissingExtraError, ModelFileError, UsageError
from deblurrt.core.tensors import Array, TensorSpec
from deblurrt.runtime import backend as backend_module
from deblurrt.runtime.backend import (
    BACKENDS,
    CHECK_SIZE,
    ENGINE_BACKENDS,
    ONNX_BACKENDS,
    Backend,
    BackendConfig,
    agreement_db,
    check_array,
    open_backend,
    smooth_noise,
)
from deblurrt.runtime.shipped_models import find_model
from tests.fakes import FakeBackend
from tests.tiny_graphs import BYTES, value, write_conv, write_graph, write_identity

ONE_THREAD = BackendConfig(threads=1)
IDENTITY = find_model("identity")

#: sums of 27 float32 products in another order
CONV_TOLERANCE = 1e-5

REFUSED = [
    ({"frames": np.zeros((1, 2, 2, 3))}, "input 'frames' is float64[1, 2, 2, 3]"),
    ({"frames": np.zeros((2, 2, 3), np.uint8)}, "input 'frames' is uint8[2, 2, 3]"),
    ({"frames": np.zeros((1, 2, 2, 4), np.uint8)}, "input 'frames' is uint8[1, 2, 2, 4]"),
]


def random_frames(height: int, width: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8)


def open_or_skip(name: str, path: Path, config: BackendConfig = ONE_THREAD) -> Backend:
    try:
        return open_backend(name, open_onnx(path), config)
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.fixture(params=ONNX_BACKENDS)
def identity(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Every backend of ONNX files in turn, running the shipped identity."""
    backend = open_or_skip(request.param, IDENTITY)
    yield backend
    backend.close()


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (48, 64)])
def test_identity_gives_every_value_back(identity: Backend, size: tuple[int, int]) -> None:
    frames = random_frames(*size)
    np.testing.assert_array_equal(identity.run({"frames": frames})["restored"], frames)


def test_size_may_change_from_run_to_run(identity: Backend) -> None:
    for size in ((4, 6), (7, 3), (7, 3), (4, 6)):
        frames = random_frames(*size)
        np.testing.assert_array_equal(identity.run({"frames": frames})["restored"], frames)


def test_views_that_are_not_contiguous_are_read_right(identity: Backend) -> None:
    whole = random_frames(200, 300)
    for view in (whole[:, :, 100:250], whole[:, ::-1], whole.swapaxes(1, 2)):
        np.testing.assert_array_equal(identity.run({"frames": view})["restored"], view)


def test_result_stays_valid_until_the_next_run(identity: Backend) -> None:
    frames = random_frames(8, 8)
    restored = identity.run({"frames": frames})["restored"]
    expected = frames.copy()
    frames[:] = 0
    np.testing.assert_array_equal(restored, expected)


def test_prepared_backend_gives_the_same_result(identity: Backend) -> None:
    identity.prepare({"frames": (1, 8, 8, 3)})
    identity.prepare({"frames": (1, 8, 8, 3)})
    frames = random_frames(8, 8)
    np.testing.assert_array_equal(identity.run({"frames": frames})["restored"], frames)


@pytest.mark.parametrize(("arrays", "got"), REFUSED)
def test_unfit_array_is_refused_with_what_was_expected(identity: Backend, arrays: dict[str, Array], got: str) -> None:
    with pytest.raises(ContractError) as caught:
        identity.run(arrays)
    assert str(caught.value) == f"{got}, the network expects uint8['batch', 'height', 'width', 3]"


def test_array_of_another_name_is_refused(identity: Backend) -> None:
    with pytest.raises(ContractError) as caught:
        identity.run({"blurred": random_frames(2, 2)})
    assert str(caught.value) == "inputs are ['blurred'], the network expects ['frames']"


def test_refused_array_leaves_the_backend_usable(identity: Backend) -> None:
    frames = random_frames(2, 2)
    with pytest.raises(ContractError):
        identity.run({"frames": frames.astype(np.float32)})
    np.testing.assert_array_equal(identity.run({"frames": frames})["restored"], frames)


def test_backend_may_be_closed_twice(identity: Backend) -> None:
    identity.run({"frames": random_frames(2, 2)})
    identity.close()
    identity.close()


def test_tensors_are_those_of_the_file(identity: Backend) -> None:
    onnx_file = open_onnx(IDENTITY)
    assert (identity.inputs, identity.outputs) == (onnx_file.inputs, onnx_file.outputs)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ONNX_BACKENDS)
def test_description_names_arithmetic_and_threads(name: str, threads: int) -> None:
    backend = open_or_skip(name, IDENTITY, BackendConfig(threads=threads))
    assert backend.name == name
    assert backend.description.endswith(f" cpu fp32, {threads} threads")
    backend.close()


@pytest.mark.parametrize("name", ONNX_BACKENDS)
def test_convolution_is_that_of_numpy(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 3, 3)).astype(np.float32)
    frames = rng.normal(size=(1, 3, 9, 11)).astype(np.float32)
    padded = np.pad(frames[0], ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    expected = np.einsum("chwyx,ocyx->ohw", windows, kernel)
    backend = open_or_skip(name, write_conv(tmp_path / "conv.onnx", kernel))
    result = backend.run({"frames": frames})["restored"]
    np.testing.assert_allclose(result[0], expected, atol=CONV_TOLERANCE)
    backend.close()


@pytest.mark.parametrize("name", ONNX_BACKENDS)
def test_graph_with_an_unknown_operator_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    node = helper.make_node("Sharpen", ["frames"], ["restored"], domain="elsewhere")
    path = write_graph(tmp_path / "unknown.onnx", [node], ([value("frames")], [value("restored")]))
    with pytest.raises((BackendError, ModelFileError), match=r"unknown\.onnx .*Sharpen") as caught:
        open_or_skip(name, path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ONNX_BACKENDS)
def test_shape_the_graph_cannot_take_is_a_backend_error_and_not_the_end(name: str, tmp_path: Path) -> None:
    node = helper.make_node("Transpose", ["frames"], ["turned"], perm=[0, 2, 1, 3])
    concat = helper.make_node("Concat", ["frames", "turned"], ["restored"], axis=1)
    squares_only = write_graph(tmp_path / "squares.onnx", [node, concat], ([value("frames")], [value("restored")]))
    backend = open_or_skip(name, squares_only)
    square = random_frames(2, 2)
    expected = np.concatenate([square, square.swapaxes(1, 2)], axis=1)
    backend.run({"frames": square})
    with pytest.raises(BackendError):
        backend.run({"frames": random_frames(2, 3)})
    np.testing.assert_array_equal(backend.run({"frames": square})["restored"], expected)
    backend.close()


def test_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BackendError) as caught:
        open_backend("cuda", open_onnx(IDENTITY), ONE_THREAD)
    assert str(caught.value) == f"no backend called 'cuda', expected auto, {', '.join(BACKENDS)}"


@pytest.mark.parametrize("name", ENGINE_BACKENDS)
def test_backend_of_engines_refuses_an_onnx_file_with_the_command_that_builds_one(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_backend(name, open_onnx(IDENTITY), ONE_THREAD)
    assert str(caught.value) == (
        f"--backend {name} runs engines, identity.onnx is an ONNX file; build one for the size of your frames, then "
        f"run it: deblurrt build {IDENTITY} --backend {name} --size 720x1280 -o identity.engine"
    )


def test_threads_are_all_allowed_cores_unless_given() -> None:
    assert BackendConfig().thread_count >= 1
    assert BackendConfig(threads=3).thread_count == 3


class Candidate(FakeBackend):
    """A backend of the table that answers at once, so that it is always the fastest."""

    def __init__(self, onnx_file: OnnxFile, config: BackendConfig) -> None:
        super().__init__()
        self.precision = config.precision
        opened.append(self)


class Lying(Candidate):
    """As fast, but far off."""

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"restored": 255 - arrays["frames"]}


class Coarse(Candidate):
    """Off by a level in the even rows, 51 dB, and slower than an identity: sorts everything first."""

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        for _ in range(3):
            np.sort(arrays["frames"], axis=None)
        changed = arrays["frames"].copy()
        changed[:, ::2] ^= 1
        return {"restored": changed}


class Broken(Candidate):
    """Loads and then fails."""

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        raise BackendError("the library failed")


#: candidates made since the test began
opened: list[Candidate] = []


@pytest.fixture
def candidates(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Candidate]:
    """Let the class given as parameter be the only backend beside ONNX Runtime; list what is opened."""
    opened.clear()
    table = {"onnxruntime": ONNX_BACKENDS["onnxruntime"], "candidate": (__name__, request.param.__name__)}
    monkeypatch.setattr(backend_module, "ONNX_BACKENDS", table)
    monkeypatch.setattr(backend_module, "BACKENDS", table)
    return opened


def open_auto(config: BackendConfig = ONE_THREAD) -> Backend:
    return open_backend("auto", open_onnx(IDENTITY), config)


@pytest.mark.parametrize("candidates", [Candidate], indirect=True)
def test_auto_takes_the_fastest_backend_that_agrees(candidates: list[Candidate]) -> None:
    chosen = open_auto()
    assert chosen in candidates
    assert [candidate.is_closed for candidate in candidates] == [candidate is not chosen for candidate in candidates]


@pytest.mark.parametrize("candidates", [Lying], indirect=True)
def test_auto_refuses_a_fast_backend_that_computes_wrongly(
    candidates: list[Candidate], caplog: pytest.LogCaptureFixture
) -> None:
    chosen = open_auto(BackendConfig("fp32", 1))
    assert chosen.name == "onnxruntime"
    assert [candidate.is_closed for candidate in candidates] == [True]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("candidate is not used: it agrees with ONNX Runtime to ")
    chosen.close()


@pytest.mark.parametrize("candidates", [Broken], indirect=True)
def test_auto_leaves_out_and_closes_a_backend_that_fails(candidates: list[Candidate]) -> None:
    chosen = open_auto()
    assert chosen.name == "onnxruntime"
    assert [candidate.is_closed for candidate in candidates] == [True, True]
    chosen.close()


@pytest.mark.parametrize("candidates", [Candidate], indirect=True)
@pytest.mark.parametrize(("precision", "tried"), [("auto", ["fp32", "bf16"]), ("fp32", ["fp32"]), ("bf16", ["bf16"])])
def test_auto_tries_the_precisions_it_may_use(
    candidates: list[Candidate], precision: backend_module.Precision, tried: list[str]
) -> None:
    open_auto(BackendConfig(precision, 1)).close()
    assert [candidate.precision for candidate in candidates] == tried


@pytest.mark.parametrize("candidates", [Coarse], indirect=True)
def test_auto_takes_the_bf16_asked_for_even_where_fp32_is_faster(candidates: list[Candidate]) -> None:
    assert open_auto(BackendConfig("bf16", 1)) is candidates[0]


@pytest.mark.parametrize("candidates", [Coarse], indirect=True)
def test_auto_asks_more_agreement_of_fp32_than_of_bf16(candidates: list[Candidate]) -> None:
    chosen = open_auto(BackendConfig("fp32", 1))
    assert chosen.name == "onnxruntime"
    chosen.close()


@pytest.mark.parametrize("candidates", [Broken, Lying], indirect=True)
def test_auto_says_when_nothing_computes_in_the_bf16_asked_for(candidates: list[Candidate]) -> None:
    with pytest.raises(BackendError, match="no backend computes in bf16 on this machine"):
        open_auto(BackendConfig("bf16", 1))
    assert [candidate.is_closed for candidate in candidates] == [True]


def test_auto_falls_back_to_onnxruntime_without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    chosen = open_auto()
    assert chosen.name == "onnxruntime"
    chosen.close()


@pytest.mark.parametrize("candidates", [Candidate], indirect=True)
def test_auto_with_a_provider_is_onnxruntime_with_it(candidates: list[Candidate]) -> None:
    with pytest.raises(BackendError, match="no provider 'npu'"):
        open_auto(BackendConfig(provider="npu"))
    assert candidates == []


def test_agreement_is_the_psnr() -> None:
    expected = np.zeros((4, 4), np.uint8)
    assert agreement_db(expected, expected + np.uint8(1)) == pytest.approx(20 * np.log10(255))
    assert agreement_db(np.zeros(4), np.full(4, 0.1)) == pytest.approx(20.0)
    assert agreement_db(np.full(4, 255.0), np.full(4, 254.0)) == pytest.approx(20 * np.log10(255))


def test_agreement_of_equal_arrays_is_100() -> None:
    assert agreement_db(np.ones(3), np.ones(3)) == 100.0


@pytest.mark.parametrize(
    "result",
    [np.zeros((2, 3)), np.zeros(2, np.float32), np.array([0.0, np.nan]), np.array([np.inf, 0.0])],
    ids=["shape", "type", "not a number", "infinite"],
)
def test_arrays_that_cannot_be_compared_agree_to_0(result: Array) -> None:
    expected = np.zeros(2)
    assert agreement_db(expected, result) == agreement_db(result, expected) == 0.0


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (TensorSpec("frames", "uint8", ("batch", "height", "width", 3)), (1, *CHECK_SIZE, 3)),
        (TensorSpec("frames", "uint8", ("batch", 3, "height", "width", 3)), (1, 3, *CHECK_SIZE, 3)),
        (TensorSpec("frames", "float32", ("batch", 3, "height", "width")), (1, 3, *CHECK_SIZE)),
        (TensorSpec("frames", "uint8", (1, 72, 128, 3)), (1, 72, 128, 3)),
    ],
)
def test_check_array_fits_the_tensor(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    array = check_array(spec)
    assert array.shape == shape
    assert spec.accepts(array.dtype, array.shape)


@pytest.mark.parametrize(("dtype", "brightest"), [("uint8", 255), ("float32", 1)])
def test_check_picture_is_the_same_each_time_and_in_range(dtype: str, brightest: int) -> None:
    first, second = smooth_noise((20, 30, 3), dtype), smooth_noise((20, 30, 3), dtype)
    np.testing.assert_array_equal(first, second)
    assert first.min() >= 0
    assert brightest / 2 < first.max() <= brightest


def test_fixed_size_is_refused_at_another_size(tmp_path: Path) -> None:
    path = write_identity(tmp_path / "fixed.onnx", kind=BYTES, shape=(1, 4, 6, 3))
    backend = open_or_skip("onnxruntime", path)
    with pytest.raises(ContractError, match=r"is uint8\[1, 6, 4, 3\], the network expects uint8\[1, 4, 6, 3\]"):
        backend.run({"frames": random_frames(6, 4)})
    backend.close()
