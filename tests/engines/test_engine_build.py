"""Builds with cache, memory check, label and time limit, through a stand-in for TensorRT's builder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from deblurrt.core.artifacts import CONTRACT_KEY, OnnxFile, open_onnx, write_onnx
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import BackendError, MachineError, ModelFileError, QualityError, StoppedError
from deblurrt.core.gpus import Gpu, GpuFacts
from deblurrt.core.manifest import read_manifest
from deblurrt.engines import engine_build
from deblurrt.engines.build_config import MODULES, BuildConfig, Shapes
from deblurrt.engines.build_process import BuiltPlan, build_plan
from deblurrt.engines.engine_build import Origin, engine_from_onnx, identify
from deblurrt.engines.precision_label import PrecisionLabel

ORIN = GpuFacts((Gpu("Orin", "8.7", 30000, 20000),), "540.4.0", "12.6")
CONFIG = BuildConfig(backend="tensorrt")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[list[Any]]]:
    """An Orin with the stand-in as its TensorRT; gives the builder's calls."""
    record = tmp_path / "calls.json"
    for name, value in (
        ("PYTHONPATH", str(Path(__file__).parent)),
        ("FAKE_TRT_RECORD", str(record)),
        ("XDG_CACHE_HOME", str(tmp_path / "cache")),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(MODULES, "tensorrt", "fake_trt")
    monkeypatch.setattr(engine_build, "probe_gpus", lambda: ORIN)
    monkeypatch.setattr(engine_build, "builder_version", lambda _backend: "10.3.0")
    return lambda: json.loads(record.read_text()) if record.is_file() else []


@pytest.fixture
def file(tmp_path: Path) -> OnnxFile:
    return same_frames(tmp_path / "same.onnx")


def same_frames(path: Path, *, has_contract: bool = True, count: int | str = 1) -> OnnxFile:
    """A file that gives frames of 90x120 back."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.UINT8, [count, 90, 120, 3]) for name in ("frames", "restored")
    ]
    node = helper.make_node("Identity", ["frames"], ["restored"], name="same")
    graph = helper.make_graph([node], "same", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if has_contract:
        onnx.helper.set_model_props(model, {CONTRACT_KEY: FrameContract().to_json()})
    return write_onnx(model, path)


def test_engine_knows_its_gpu_and_is_built_once(
    gpu: Callable[[], list[list[Any]]], file: OnnxFile, tmp_path: Path
) -> None:
    lines: list[str] = []
    first = engine_from_onnx(file, CONFIG, tmp_path / "a.engine", say=lines.append)
    calls = len(gpu())
    second = engine_from_onnx(file, CONFIG, tmp_path / "b.engine")
    assert (first.is_cached, second.is_cached) == (False, True)
    assert len(gpu()) == calls
    assert lines[0] == "not in the cache: the cache is empty"
    manifest = read_manifest(tmp_path / "b.engine")
    assert (manifest.gpu, manifest.compute_capability, manifest.driver, manifest.cuda) == (
        "Orin",
        "8.7",
        "540.4.0",
        "12.6",
    )
    assert (tmp_path / "b.engine").read_bytes() == b"plan"


@pytest.mark.parametrize("mode", ["refuses", "misparses", "dies"])
def test_failed_build_leaves_the_old_engine_and_no_entry(
    gpu: object, file: OnnxFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    path = tmp_path / "a.engine"
    engine_from_onnx(file, CONFIG, path)
    before = read_manifest(path)
    monkeypatch.setenv("FAKE_TRT_MODE", mode)
    other = BuildConfig(backend="tensorrt", optimization_level=1)
    with pytest.raises((BackendError, ModelFileError)):
        engine_from_onnx(file, other, path, force=True)
    assert read_manifest(path) == before
    monkeypatch.setenv("FAKE_TRT_MODE", "builds")
    assert engine_from_onnx(file, other, path, force=True).is_cached is False


def test_memory_of_the_gpu_is_asked_before_the_build(
    gpu: Callable[[], list[list[Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = GpuFacts((Gpu("Orin", "8.7", 30000, 0),), "540.4.0", "12.6")
    monkeypatch.setattr(engine_build, "probe_gpus", lambda: full)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 90, 120]) for name in ("frames", "restored")
    ]
    nodes = [
        helper.make_node("AveragePool", ["frames"], ["small"], name="small", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("AveragePool", ["small"], ["restored"], name="again", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "pools", values[:1], values[1:]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.helper.set_model_props(model, {CONTRACT_KEY: FrameContract(io="float").to_json()})
    file = write_onnx(model, tmp_path / "pools.onnx")
    with pytest.raises(MachineError, match=r"MiB on the device, 0 MiB are free; .* --memory MiB"):
        engine_from_onnx(file, CONFIG, tmp_path / "a.engine")
    assert gpu() == []
    engine_from_onnx(file, BuildConfig(backend="tensorrt", memory_mib=100), tmp_path / "a.engine")


def test_memory_is_that_of_all_frames_at_once(gpu: object, tmp_path: Path) -> None:
    names = ("frames", "small", "restored")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, 512, 512]) for name in names]
    nodes = [
        helper.make_node("AveragePool", list(pair), [after], name=after, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        for *pair, after in (names[:2], names[1:])
    ]
    graph = helper.make_graph(nodes, "pools", values[:1], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.helper.set_model_props(model, {CONTRACT_KEY: FrameContract(io="float").to_json()})
    file = write_onnx(model, tmp_path / "pools.onnx")
    lines: list[str] = []
    four = BuildConfig(backend="tensorrt", batch_max=4, memory_mib=11)
    with pytest.raises(MachineError, match=r"about 12 MiB .* for fewer at once \(--batch\)"):
        engine_from_onnx(file, four, tmp_path / "a.engine", say=lines.append)
    assert "estimated: 12 MiB, of which 12 for values at 512x512, 4 frames at once" in lines[-1]
    one = engine_from_onnx(file, replace(four, batch_max=1), tmp_path / "a.engine")
    three = engine_from_onnx(file, replace(four, batch_max=3), tmp_path / "b.engine")
    assert (one.engine.manifest.estimated_bytes, one.engine.manifest.batch_max) == (3 * 512 * 512 * 4, 1)
    assert (three.engine.manifest.estimated_bytes, three.engine.manifest.batch_max) == (3 * 3 * 512 * 512 * 4, 3)
    assert "batch_max is 3, there 1" in three.reason


def test_layers_in_more_bits_are_refused_unless_accepted(
    gpu: object, file: OnnxFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = PrecisionLabel({"fp16": 0.5, "fp32": 0.5}, (("conv", "fp16", "fp32"),))
    monkeypatch.setattr(engine_build, "label", lambda *_arguments: mixed)
    with pytest.raises(QualityError, match=r"conv \(fp32 for fp16\)"):
        engine_from_onnx(file, CONFIG, tmp_path / "a.engine")
    assert not (tmp_path / "a.engine").exists()
    accepted = BuildConfig(backend="tensorrt", allow_mixed=True)
    assert engine_from_onnx(file, accepted, tmp_path / "a.engine").engine.manifest.precision["fp32"] == 0.5
    with pytest.raises(QualityError, match=r"conv \(fp32 for fp16\)"):
        engine_from_onnx(file, CONFIG, tmp_path / "b.engine")


def test_engine_of_the_cache_is_called_what_was_asked_for(gpu: object, file: OnnxFile, tmp_path: Path) -> None:
    engine_from_onnx(file, CONFIG, tmp_path / "a.engine", origin=Origin("first.onnx"))
    assert engine_from_onnx(file, CONFIG, tmp_path / "b.engine", origin=Origin("second.onnx")).is_cached
    assert read_manifest(tmp_path / "b.engine").model == "second.onnx"
    assert read_manifest(tmp_path / "a.engine").model == "first.onnx"


#: choices that do not change the engine, and one that stands in the key under another name
NOT_IN_THE_KEY = {"memory_mib", "timing_cache"}
OTHER_CHOICES: dict[str, Any] = {
    "backend": "tensorrt-rtx",
    "shapes": Shapes((90, 120), (90, 120), (90, 120)),
    "batch_max": 2,
    "targets": ("sm86",),
    "workspace_mib": 5,
    "optimization_level": 1,
    "timing_cache": Path("timings"),
    "time_limit_s": 9.0,
    "memory_mib": 9000,
    "allow_mixed": True,
    "plugins": (Path(__file__),),
}


@pytest.mark.parametrize("name", [entry.name for entry in fields(BuildConfig)])
def test_every_choice_is_in_the_key_or_known_not_to_change_the_engine(gpu: object, tmp_path: Path, name: str) -> None:
    file = same_frames(tmp_path / "any_number.onnx", count="batch")
    backend = "tensorrt-rtx" if name == "targets" else "tensorrt"
    before = BuildConfig(backend=backend)  # type: ignore[arg-type]  # one of two
    keys = [
        identify(file, config, "m", ORIN).key() for config in (before, replace(before, **{name: OTHER_CHOICES[name]}))
    ]
    # a file of fixed size has its own shapes
    assert (keys[0] == keys[1]) == (name in NOT_IN_THE_KEY | {"shapes"})


def test_time_limit_keeps_the_last_level_that_was_ready(
    gpu: object, file: OnnxFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: list[int | None] = []
    real = build_plan

    def slow_from_two(onnx_file: OnnxFile, config: BuildConfig, path: Path, **options: Any) -> BuiltPlan:
        levels.append(config.optimization_level)
        if config.optimization_level == 2:
            raise StoppedError("the builder was stopped at its deadline")
        return real(onnx_file, config, path, **options)

    monkeypatch.setattr(engine_build, "build_plan", slow_from_two)
    lines: list[str] = []
    limited = BuildConfig(backend="tensorrt", time_limit_s=60)
    result = engine_from_onnx(file, limited, tmp_path / "a.engine", say=lines.append)
    assert levels == [0, 1, 2]
    assert [line.partition(" took")[0] for line in lines if "took" in line] == ["level 0", "level 1"]
    assert result.engine.manifest.options == {"time_limit_s": 60}


def test_nothing_ready_within_the_limit_is_an_error(
    gpu: object, file: OnnxFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TRT_MODE", "waits")
    with pytest.raises(BackendError, match=r"no build was ready within 0\.5 s"):
        engine_from_onnx(file, BuildConfig(backend="tensorrt", time_limit_s=0.5), tmp_path / "a.engine")


def test_tensorrt_without_a_gpu_and_files_without_a_contract_are_refused(
    gpu: object, file: OnnxFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = same_frames(tmp_path / "bare.onnx", has_contract=False)
    with pytest.raises(ModelFileError, match="does not say what it needs of frames"):
        engine_from_onnx(bare, CONFIG, tmp_path / "a.engine")
    monkeypatch.setattr(engine_build, "probe_gpus", GpuFacts)
    with pytest.raises(MachineError, match="tensorrt builds on the GPU the engine is for, and none was found"):
        engine_from_onnx(file, CONFIG, tmp_path / "a.engine")


def is_running(process: str) -> bool:
    """Whether a process does anything; one that nobody has waited for yet does not."""
    status = Path(f"/proc/{process}/stat")
    return status.is_file() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_killed_build_leaves_nothing_and_the_next_one_works(gpu: object, file: OnnxFile, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from deblurrt.core.artifacts import open_onnx\n"
        "from deblurrt.core.gpus import Gpu, GpuFacts\n"
        "from deblurrt.engines import engine_build\n"
        "from deblurrt.engines.build_config import MODULES, BuildConfig\n"
        "MODULES['tensorrt'] = 'fake_trt'\n"
        "engine_build.probe_gpus = lambda: GpuFacts((Gpu('Orin', '8.7', 30000, 20000),), '540.4.0', '12.6')\n"
        "engine_build.builder_version = lambda _backend: '10.3.0'\n"
        "file, config = open_onnx(Path(sys.argv[1])), BuildConfig(backend='tensorrt')\n"
        "tell = lambda event: print(event['event'], flush=True)\n"
        "engine_build.engine_from_onnx(file, config, Path(sys.argv[2]), on_event=tell)\n"
    )
    path = tmp_path / "a.engine"
    command = [sys.executable, "-c", code, str(file.path), str(path)]
    environment = {**os.environ, "FAKE_TRT_MODE": "waits"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            if line.strip() == "finished":
                break
        children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
        killed.send_signal(signal.SIGKILL)
    assert not path.exists()
    assert len(children) == 1
    deadline = time.monotonic() + 30
    while is_running(children[0]):
        assert time.monotonic() < deadline, "the builder outlives the process that waits for it"
        time.sleep(0.01)
    assert engine_from_onnx(open_onnx(file.path), CONFIG, path).is_cached is False
