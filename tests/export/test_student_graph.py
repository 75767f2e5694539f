from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from deblurrt.core.artifacts import OnnxFile, open_onnx
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import ModelFileError, OutputError
from deblurrt.core.tensors import Array, TensorSpec
from deblurrt.export.student_graph import IR_VERSION, OPSET, Io, onnx_from_student, student_contract, weight_shapes
from deblurrt.models.student_config import STUDENT_M, STUDENT_S, STUDENT_XS, StudentConfig
from deblurrt.runtime.backend import BackendConfig, open_backend
from deblurrt.runtime.frame import Pixels
from deblurrt.runtime.session import SessionConfig, open_session

CONFIGS = {"xs": STUDENT_XS, "s": STUDENT_S, "m": STUDENT_M}
PROVENANCE = {"weights": "random:0"}

#: float32 sums in another order move a value across x.5 now and then: one level, on at most 0.1 % of the values
TIE_LEVELS, TIE_SHARE = 1, 1e-3

#: multiples of 16 and not, the smallest and a narrow one
SIZES = [(64, 80), (50, 67), (16, 16), (17, 93)]

Weights = dict[str, NDArray[np.float32]]


def random_weights(config: StudentConfig, seed: int = 0) -> Weights:
    """Weights that keep the variance and change most pixels by some levels."""
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in weight_shapes(config).items():
        gain = {"tail": 0.1, "conv2": 0.3}.get(name.split(".")[-2], 1.0)
        deviation = gain / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.02
        weights[name] = rng.normal(0, deviation, shape).astype(np.float32)
    return weights


def random_picture(height: int, width: int) -> Pixels:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def restore(path: Path, pixels: Pixels, backend: str = "onnxruntime") -> Pixels:
    with open_session(path, SessionConfig(backend=backend, options=BackendConfig(threads=1))) as session:
        return session.restore(pixels)


def assert_equal_but_for_ties(restored: Pixels, expected: Pixels) -> None:
    difference = np.abs(restored.astype(int) - expected)
    assert difference.max() <= TIE_LEVELS
    assert np.mean(difference > 0) <= TIE_SHARE


@pytest.fixture(scope="module", params=CONFIGS)
def config(request: pytest.FixtureRequest) -> StudentConfig:
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def student(config: StudentConfig, tmp_path_factory: pytest.TempPathFactory) -> OnnxFile:
    """The deployment graph of ``config`` with random weights."""
    return onnx_from_student(config, random_weights(config), tmp_path_factory.mktemp("student") / "s.onnx", PROVENANCE)


def test_file_is_valid_onnx_of_the_promised_versions(student: OnnxFile) -> None:
    model = onnx.load(student.path)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == IR_VERSION
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]


@pytest.mark.parametrize(
    ("io", "dtype", "shape"),
    [("uint8", "uint8", ("batch", "height", "width", 3)), ("float", "float32", ("batch", 3, "height", "width"))],
)
def test_file_takes_and_gives_frames(tmp_path: Path, io: Io, dtype: str, shape: tuple[int | str, ...]) -> None:
    path = tmp_path / "s.onnx"
    written = onnx_from_student(STUDENT_S, random_weights(STUDENT_S), path, PROVENANCE, io=io)
    assert written.inputs == (TensorSpec("frames", dtype, shape),)
    assert written.outputs == (TensorSpec("restored", dtype, shape),)
    assert written.contract == student_contract(STUDENT_S, io)


def test_contract_repeats_the_config(config: StudentConfig, student: OnnxFile) -> None:
    assert student.contract == FrameContract(
        multiple=config.multiple, min_size=config.multiple, halo_px=config.halo_px, io="uint8", pad="reflect"
    )


def test_metadata_says_where_weights_come_from_and_what_it_costs(config: StudentConfig, student: OnnxFile) -> None:
    operators = [node.op_type for node in onnx.load(student.path).graph.node]
    assert student.provenance == PROVENANCE
    assert student.summary == {
        "operators": {name: operators.count(name) for name in set(operators)},
        "parameters": sum(int(np.prod(shape)) for shape in weight_shapes(config).values()),
        "macs_per_pixel": {"fp32": config.macs_per_pixel},
    }
    assert all(json.loads(text) for text in student.metadata.values())


def test_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    weights = random_weights(STUDENT_XS)
    backwards = dict(reversed(weights.items()))
    first = onnx_from_student(STUDENT_XS, weights, tmp_path / "1.onnx", {"a": 1, "b": 2})
    second = onnx_from_student(STUDENT_XS, backwards, tmp_path / "2.onnx", {"b": 2, "a": 1})
    assert first.sha256() == second.sha256()


@pytest.mark.parametrize("size", SIZES)
def test_result_is_that_of_the_torch_network(config: StudentConfig, student: OnnxFile, size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra 'train'")
    from deblurrt.models.student import Student

    network = Student(config)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in random_weights(config).items()})
    pixels = random_picture(*size)
    fill = [(0, -length % config.multiple) for length in size]
    padded = np.pad(pixels, (*fill, (0, 0)), mode="reflect")
    with torch.inference_mode():
        unit = torch.from_numpy(padded.transpose(2, 0, 1)[None].astype(np.float32)) / 255
        given: Array = network(unit)[0].permute(1, 2, 0).numpy()
    expected = np.rint(np.clip(given * 255, 0, 255)).astype(np.uint8)[: size[0], : size[1]]
    assert np.mean(expected != pixels) > 0.5  # the weights do something
    assert_equal_but_for_ties(restore(student.path, pixels), expected)


def test_weight_names_and_shapes_are_those_of_the_torch_network(config: StudentConfig) -> None:
    pytest.importorskip("torch", reason="needs the extra 'train'")
    from deblurrt.models.student import Student

    state = Student(config).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == weight_shapes(config)


@pytest.mark.parametrize("size", SIZES[:2])
def test_openvino_gives_the_result_of_onnxruntime(student: OnnxFile, size: tuple[int, int]) -> None:
    pytest.importorskip("openvino", reason="needs the extra 'cpu'")
    pixels = random_picture(*size)
    assert_equal_but_for_ties(restore(student.path, pixels, "openvino"), restore(student.path, pixels))


@pytest.mark.parametrize("size", SIZES[:2])
def test_bare_network_gives_the_result_of_the_deployment_graph(
    config: StudentConfig, student: OnnxFile, tmp_path: Path, size: tuple[int, int]
) -> None:
    bare = onnx_from_student(config, random_weights(config), tmp_path / "bare.onnx", PROVENANCE, io="float")
    pixels = random_picture(*size)
    assert_equal_but_for_ties(restore(bare.path, pixels), restore(student.path, pixels))


def test_batch_of_two_is_two_single_frames(student: OnnxFile) -> None:
    frames = np.stack([random_picture(33, 40), random_picture(33, 40)[::-1]])
    backend = open_backend("onnxruntime", student, BackendConfig(threads=1))
    together = backend.run({"frames": frames})["restored"].copy()
    for frame, restored in zip(frames, together, strict=True):
        assert_equal_but_for_ties(backend.run({"frames": frame[None]})["restored"][0], restored)
    backend.close()


def test_picture_smaller_than_the_multiple_is_restored(student: OnnxFile) -> None:
    assert restore(student.path, random_picture(1, 3)).shape == (1, 3, 3)


@pytest.mark.parametrize("along", [0, 1], ids=["down", "across"])
def test_changed_pixel_changes_nothing_beyond_the_halo(config: StudentConfig, student: OnnxFile, along: int) -> None:
    at = 11
    pixels = random_picture(at + config.halo_px + 60, 32)
    changed = pixels.copy()
    changed[at] = 255 - changed[at]
    if along == 1:
        pixels, changed = pixels.swapaxes(0, 1).copy(), changed.swapaxes(0, 1).copy()
    differs = (restore(student.path, pixels) != restore(student.path, changed)).any(axis=(1 - along, 2))
    assert differs[at]
    assert not differs[at + config.halo_px + 1 :].any()


def uniform_network(student: OnnxFile, path: Path) -> OnnxFile:
    """Cut the float part out of a graph, from the centred picture to the correction.

    Every weight is made positive and every bias zero: then a value of the correction is zero
    exactly where nothing but zeros could reach it.
    """
    model = onnx.load(student.path)
    names = [node.name for node in model.graph.node]
    nodes = model.graph.node[names.index("centred") + 1 : names.index("tail") + 1]
    constants = [tensor for tensor in model.graph.initializer if tensor.name.endswith((".weight", ".bias"))]
    uniform = {
        tensor.name: np.full(tensor.dims, 1 / np.prod(tensor.dims[1:]) if len(tensor.dims) > 1 else 0, np.float32)
        for tensor in constants
    }
    shape = ["batch", uniform["head.weight"].shape[1], "folded_height", "folded_width"]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("centred", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("tail", TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(array, name) for name, array in uniform.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=model.opset_import, ir_version=IR_VERSION), path)
    return open_onnx(path)


def measured_reach_px(network: OnnxFile, config: StudentConfig) -> int:
    """Largest distance, in pixels, from a changed pixel to a changed pixel, over all phases of the grid."""
    fold, period = config.unshuffle, config.multiple // config.unshuffle
    rows = 2 * (config.halo_px // config.multiple + 2) * period
    backend = open_backend("onnxruntime", network, BackendConfig(threads=1))
    reach = 0
    for row in range(rows // 2, rows // 2 + period):
        picture = np.zeros((1, 3 * fold * fold, rows, period), np.float32)
        picture[:, :, row] = 1
        touched = np.flatnonzero(backend.run({"centred": picture})["tail"].any(axis=(0, 1, 3)))
        assert 0 < touched[0] < touched[-1] < rows - 1  # the strip is long enough to see the ends
        reach = max(reach, (int(touched[-1]) - row + 1) * fold - 1, (row - int(touched[0]) + 1) * fold - 1)
    backend.close()
    return reach


def test_halo_is_the_reach_of_the_network(config: StudentConfig, student: OnnxFile, tmp_path: Path) -> None:
    reach = measured_reach_px(uniform_network(student, tmp_path / "network.onnx"), config)
    assert reach == config.halo_px


def test_macs_per_pixel_are_those_of_the_convolutions(config: StudentConfig, student: OnnxFile, tmp_path: Path) -> None:
    height, width = 64, 64
    model = onnx.load(student.path)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    weight_sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    for node in convolutions:
        shape = ["batch", "channels", "rows", "columns"]
        model.graph.output.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, shape))
    onnx.save(model, tmp_path / "opened.onnx")
    backend = open_backend("onnxruntime", open_onnx(tmp_path / "opened.onnx"), BackendConfig(threads=1))
    outputs = backend.run({"frames": random_picture(height, width)[None]})
    macs = sum(
        weight_sizes[node.input[1]] * outputs[node.output[0]].shape[2] * outputs[node.output[0]].shape[3]
        for node in convolutions
    )
    backend.close()
    assert config.macs_per_pixel == round(macs / (height * width))


def test_missing_weights_are_refused_by_name(tmp_path: Path) -> None:
    weights = random_weights(STUDENT_XS)
    del weights["tail.bias"]
    with pytest.raises(ModelFileError, match=r"the weights lack tail\.bias; are they of another network"):
        onnx_from_student(STUDENT_XS, weights, tmp_path / "s.onnx", PROVENANCE)


def test_weights_too_many_are_refused_by_name(tmp_path: Path) -> None:
    weights = random_weights(STUDENT_XS)
    weights |= {"extra.weight": weights["tail.bias"], "extra.bias": weights["tail.bias"]}
    with pytest.raises(ModelFileError, match=r"the weights have also extra\.bias and 1 more; are they of another"):
        onnx_from_student(STUDENT_XS, weights, tmp_path / "s.onnx", PROVENANCE)


def test_weights_of_other_widths_are_refused(tmp_path: Path) -> None:
    wider = replace(STUDENT_XS, widths=(48, 96, 192))
    with pytest.raises(ModelFileError, match=r"weight head\.weight is \[48, 48, 3, 3\], expected \[32, 48, 3, 3\]"):
        onnx_from_student(STUDENT_XS, random_weights(wider), tmp_path / "s.onnx", PROVENANCE)


def test_refused_weights_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        onnx_from_student(STUDENT_XS, {}, tmp_path / "s.onnx", PROVENANCE)
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path, weights = tmp_path / "s.onnx", random_weights(STUDENT_XS)
    path.write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        onnx_from_student(STUDENT_XS, weights, path, PROVENANCE)
    assert path.read_text() == "precious"
    assert onnx_from_student(STUDENT_XS, weights, path, PROVENANCE, force=True).provenance == PROVENANCE
