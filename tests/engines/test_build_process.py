"""Builds in a subprocess, with a stand-in for the builder that records calls and fails on demand."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from deblurrt.core.artifacts import CONTRACT_KEY, OnnxFile, write_onnx
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import BackendError, MachineError, ModelFileError, OutputError, UsageError
from deblurrt.core.module_paths import SCOPES_KEY
from deblurrt.engines.build_config import MODULES, BackendName, BuildConfig, Shapes
from deblurrt.engines.build_process import build_plan
from deblurrt.engines.shape_profile import profile_of

SHAPES = Shapes((64, 64), (720, 1280), (1088, 1920))

Calls = Callable[[], list[list[Any]]]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    """Put the stand-in in TensorRT's place; gives what was called."""
    record = tmp_path / "calls.json"
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("FAKE_TRT_RECORD", str(record))
    for backend in MODULES:
        monkeypatch.setitem(MODULES, backend, "fake_trt")
    return lambda: json.loads(record.read_text())


def model_file(folder: Path, contract: FrameContract, dims: list[int | str]) -> OnnxFile:
    kind = TensorProto.UINT8 if contract.io == "uint8" else TensorProto.FLOAT
    values = [helper.make_tensor_value_info(name, kind, dims) for name in ("frames", "restored")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["frames"], ["restored"])], "same", values[:1], values[1:], []
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.helper.set_model_props(model, {CONTRACT_KEY: contract.to_json()})
    return write_onnx(model, folder / "model.onnx")


@pytest.fixture
def any_size(tmp_path: Path) -> OnnxFile:
    return model_file(tmp_path, FrameContract(multiple=8, min_size=8), ["batch", "height", "width", 3])


def test_plan_is_written_and_events_are_told(fake: Calls, any_size: OnnxFile, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    built = build_plan(any_size, BuildConfig(shapes=SHAPES), tmp_path / "m.engine", on_event=events.append)
    assert built.path.read_bytes() == b"plan"
    assert (built.version, built.log.activation_bytes) == ("10.3.0", 77)
    assert [event["event"] for event in events] == ["parsing", "building", "phase", "step", "finished", "built"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls.json", "m.engine", "model.onnx"]


def test_every_choice_reaches_the_builder(fake: Calls, any_size: OnnxFile, tmp_path: Path) -> None:
    timings = tmp_path / "timings"
    config = BuildConfig("tensorrt", SHAPES, workspace_mib=3, optimization_level=4, timing_cache=timings)
    build_plan(any_size, config, tmp_path / "m.engine")
    build_plan(any_size, config, tmp_path / "m.engine", force=True)
    assert fake() == [
        ["create_network", 1 << 1],
        ["parse", "model.onnx"],
        ["set", "profiling_verbosity", 2],
        ["pool", "WORKSPACE", 3 << 20],
        ["set", "builder_optimization_level", 4],
        ["create_timing_cache", len(b"timings")],
        ["set_timing_cache", False],
        ["set_shape", "frames", [1, 64, 64, 3], [1, 720, 1280, 3], [1, 1088, 1920, 3]],
        ["add_optimization_profile"],
        ["inspect", "JSON"],
    ]
    assert timings.read_bytes() == b"timings"


@pytest.mark.parametrize("backend", list(MODULES))
def test_frames_at_once_reach_the_builder(fake: Calls, tmp_path: Path, backend: BackendName) -> None:
    fixed = model_file(tmp_path, FrameContract(), ["batch", 90, 120, 3])
    build_plan(fixed, BuildConfig(backend, batch_max=3), tmp_path / "m.engine")
    (told,) = [call for call in fake() if call[0] == "set_shape"]
    assert told == ["set_shape", "frames", [1, 90, 120, 3], [3, 90, 120, 3], [3, 90, 120, 3]]


def test_plan_of_tensorrt_is_inspected_and_of_rtx_is_not(fake: Calls, any_size: OnnxFile, tmp_path: Path) -> None:
    inspected = build_plan(any_size, BuildConfig("tensorrt", SHAPES), tmp_path / "a.engine").inspected
    assert inspected == {"body.2/conv": "fp16"}
    assert build_plan(any_size, BuildConfig("tensorrt-rtx", SHAPES), tmp_path / "b.engine").inspected == {}


def test_plan_that_does_not_load_is_kept_without_a_label(
    fake: Calls, any_size: OnnxFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TRT_MODE", "unloadable")
    built = build_plan(any_size, BuildConfig("tensorrt", SHAPES), tmp_path / "a.engine")
    assert (built.inspected, built.path.read_bytes()) == ({}, b"plan")


def test_timings_that_cannot_be_kept_cost_no_plan(
    fake: Calls, any_size: OnnxFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = BuildConfig("tensorrt", SHAPES, timing_cache=tmp_path / "none" / "timings")
    assert build_plan(any_size, config, tmp_path / "a.engine").path.read_bytes() == b"plan"
    assert "the timings are not kept" in caplog.text


def test_targets_reach_the_builder(fake: Calls, any_size: OnnxFile, tmp_path: Path) -> None:
    build_plan(any_size, BuildConfig(shapes=SHAPES, targets=("sm86",)), tmp_path / "m.engine")
    assert [call for call in fake() if "capab" in str(call)] == [
        ["set", "num_compute_capabilities", 1],
        ["capability", "SM86", 0],
    ]


def test_module_of_the_node_that_is_not_parsed_is_named(
    fake: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TRT_MODE", "misparses")
    file = model_file(tmp_path, FrameContract(), ["batch", "height", "width", 3])
    model = onnx.load(file.path)
    model.graph.node[0].name = "body.3/strange"
    model.graph.node[0].metadata_props.add(key=SCOPES_KEY, value="['', 'body', 'body.3', 'strange']")
    onnx.save(model, file.path)
    with pytest.raises(ModelFileError, match=r"at node 'body.3/strange' \(Strange\) of module body\.3: no importer"):
        build_plan(file, BuildConfig(shapes=SHAPES), tmp_path / "m.engine")


@pytest.mark.parametrize(
    ("mode", "error", "said"),
    [
        ("misparses", ModelFileError, r"model.onnx cannot be parsed at node 'body.3/strange' \(Strange\): no importer"),
        ("refuses", BackendError, r"model.onnx cannot be built: no memory for \[Conv\] at all$"),
        ("dies", BackendError, r"died after node 'body.2/conv' \(Conv\) of model.onnx"),
        ("full", OutputError, r"disk full while writing .*m\.engine"),
        ("broken", MachineError, r"the builder's library does not load \(libnvinfer\.so\.10: .*deblurrt doctor"),
    ],
)
def test_failure_is_one_line_and_leaves_nothing(
    fake: Calls,
    any_size: OnnxFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    error: type[Exception],
    said: str,
) -> None:
    monkeypatch.setenv("FAKE_TRT_MODE", mode)
    kept = tmp_path / "m.engine"
    kept.write_bytes(b"older")
    with pytest.raises(error, match=said) as caught:
        build_plan(any_size, BuildConfig(shapes=SHAPES), kept, force=True)
    assert "\n" not in str(caught.value)
    assert kept.read_bytes() == b"older"
    assert not list(tmp_path.glob("*.part"))


def test_interrupt_ends_the_builder(
    fake: Calls, any_size: OnnxFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TRT_MODE", "waits")
    started: list[Any] = []
    popen = subprocess.Popen

    def remembered(*arguments: Any, **options: Any) -> Any:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", remembered)
    threads = threading.active_count()

    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "finished":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plan(any_size, BuildConfig(shapes=SHAPES), tmp_path / "m.engine", on_event=interrupt)
    assert started[0].poll() is not None
    assert not list(tmp_path.glob("m.engine*"))
    assert threading.active_count() == threads


def test_missing_builder_names_its_extra(any_size: OnnxFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODULES, "tensorrt", "tensorrt_that_is_not_installed")
    with pytest.raises(MachineError, match="tensorrt_that_is_not_installed is needed to build an engine"):
        build_plan(any_size, BuildConfig(backend="tensorrt", shapes=SHAPES), tmp_path / "m.engine")


def test_unknown_target_names_those_there_are(fake: Calls, any_size: OnnxFile, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sm87 is not among what fake_trt builds: sm86"):
        build_plan(any_size, BuildConfig(shapes=SHAPES, targets=("sm87",)), tmp_path / "m.engine")


def test_existing_plan_is_kept_without_force(fake: Calls, any_size: OnnxFile, tmp_path: Path) -> None:
    (tmp_path / "m.engine").write_bytes(b"older")
    with pytest.raises(OutputError, match="exists already"):
        build_plan(any_size, BuildConfig(shapes=SHAPES), tmp_path / "m.engine")


@pytest.mark.parametrize(
    ("contract", "dims", "best"),
    [
        (FrameContract(multiple=8, min_size=8), ["b", "h", "w", 3], [1, 50, 70, 3]),
        (FrameContract(window=3, multiple=8, min_size=8), ["b", 3, "h", "w", 3], [1, 3, 50, 70, 3]),
        (FrameContract(io="float", multiple=8, min_size=8), ["b", 3, "h", "w"], [1, 3, 56, 72]),
        (FrameContract(io="float", window=3), ["b", 9, "h", "w"], [1, 9, 50, 70]),
    ],
)
def test_profile_has_the_shape_of_the_input(
    tmp_path: Path, contract: FrameContract, dims: list[int | str], best: list[int]
) -> None:
    shapes = Shapes((8, 8), (50, 70), (64, 128))
    assert profile_of(model_file(tmp_path, contract, dims), BuildConfig(shapes=shapes))["frames"][1] == best


def test_sizes_that_do_not_fit_the_file_are_refused(any_size: OnnxFile, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes frames of any size; say which: --size"):
        profile_of(any_size, BuildConfig())
    with pytest.raises(UsageError, match="takes sides from 8"):
        profile_of(any_size, BuildConfig(shapes=Shapes((4, 64), (64, 64), (64, 64))))
    folder = tmp_path / "fixed"
    folder.mkdir()
    fixed = model_file(folder, FrameContract(), [1, 90, 120, 3])
    assert profile_of(fixed, BuildConfig()) == {}
    assert profile_of(fixed, BuildConfig(shapes=Shapes((90, 120), (90, 120), (90, 120)))) == {}
    with pytest.raises(UsageError, match="fixed to 90x120"):
        profile_of(fixed, BuildConfig(shapes=SHAPES))
