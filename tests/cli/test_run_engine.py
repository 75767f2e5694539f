"""``deblurrt run`` with engines, on stand-ins for CUDA and TensorRT, and without a GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.engine_file import EngineFile
from deblurrt.core.errors import ModelFileError
from deblurrt.core.manifest import write_manifest
from deblurrt.core.pictures import read_picture, write_picture
from deblurrt.runtime import SessionConfig, open_session
from tests.runtime.fake_gpu import MANIFEST, FakeGpu, place_gpu
from tests.runtime.fake_tensorrt import PLAN

from .conftest import FRAMES

Deblurrt = Callable[..., int]
Shown = pytest.CaptureFixture[str]

SIZES = ((2, 2), (16, 24), (64, 64))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeGpu:
    placed = place_gpu(monkeypatch, tmp_path, seed=0)
    placed.trt.profile = ((1, 2, 2, 3), (1, 16, 24, 3), (1, 64, 64, 3))
    return placed


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "blurred.png"
    write_picture(path, np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))
    return path


def error_line(shown: Shown) -> str:
    """The one line that says what is wrong."""
    lines = [line for line in shown.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def written(gpu: FakeGpu, **changes: Any) -> EngineFile:
    return gpu.engine(**{"shapes": SIZES, **changes})


@pytest.mark.parametrize("backend", [(), ("--backend", "auto"), ("--backend", "tensorrt")])
def test_engine_runs_on_what_it_was_built_for(
    deblurrt: Deblurrt, gpu: FakeGpu, picture: Path, backend: tuple[str, ...]
) -> None:
    engine, sharp = written(gpu), picture.with_name("sharp.png")
    assert deblurrt("run", picture, sharp, "--model", engine.path, *backend, "--no-guard") == 0
    np.testing.assert_array_equal(read_picture(sharp), 255 - read_picture(picture))


def test_engine_of_rtx_runs(deblurrt: Deblurrt, gpu: FakeGpu, picture: Path) -> None:
    engine = written(gpu, backend="tensorrt-rtx", targets=("sm89",))
    sharp = picture.with_name("sharp.png")
    assert deblurrt("run", picture, sharp, "--model", engine.path, "--backend", "tensorrt-rtx", "--no-guard") == 0
    np.testing.assert_array_equal(read_picture(sharp), 255 - read_picture(picture))


def test_clip_goes_through_an_engine(
    deblurrt: Deblurrt, gpu: FakeGpu, clip: Path, tmp_path: Path, capsys: Shown
) -> None:
    engine = written(gpu)
    assert deblurrt("run", clip, tmp_path / "out.mp4", "--model", engine.path, "--no-guard", "--json", "-") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["states"] == {"deblurred": FRAMES}
    assert summary["backend"] == "TensorRT 10.3.0 on NVIDIA Fake, fp16"
    assert gpu.cuda.names().count("cudaGraphLaunch") == FRAMES + 1  # and the warm-up
    assert (gpu.cuda.device, set(gpu.cuda.streams)) == ({}, {1, 2})


def test_frames_larger_than_the_engine_takes_are_refused_with_tiles_as_a_remedy_that_works(
    deblurrt: Deblurrt, gpu: FakeGpu, picture: Path, capsys: Shown
) -> None:
    engine, sharp = written(gpu, shapes=((2, 2), (16, 24), (24, 24))), picture.with_name("sharp.png")
    assert deblurrt("run", picture, sharp, "--model", engine.path) == 5
    assert error_line(capsys) == (
        "error: frames are 30x40, m.engine takes 2x2 to 24x24 (made fast for 16x24); build it for them, or cut them: "
        "--tile 16x24"
    )
    assert deblurrt("run", picture, sharp, "--model", engine.path, "--tile", "16x24", "--no-guard") == 0
    np.testing.assert_array_equal(read_picture(sharp), 255 - read_picture(picture))


def test_engine_of_one_size_restores_larger_frames_in_tiles_of_it(
    deblurrt: Deblurrt, gpu: FakeGpu, picture: Path
) -> None:
    gpu.trt.profile = ((1, 16, 24, 3),) * 3
    engine, sharp = written(gpu, shapes=((16, 24),) * 3), picture.with_name("sharp.png")
    assert deblurrt("run", picture, sharp, "--model", engine.path, "--no-guard") == 0
    np.testing.assert_array_equal(read_picture(sharp), 255 - read_picture(picture))


@pytest.mark.fault("E3", "engine of another version or hash, through `run`", "one line, exit 5 or 6")
@pytest.mark.parametrize(
    ("changes", "options", "ends"),
    [
        ({}, ("--backend", "tensorrt-rtx"), (2, "m.engine is an engine of tensorrt, asked for tensorrt-rtx; leave")),
        ({}, ("--backend", "openvino"), (2, "m.engine is an engine of tensorrt, asked for openvino; leave --backend")),
        (
            {},
            ("--precision", "bf16"),
            (2, "--provider and --precision go with ONNX files, m.engine computes as it was"),
        ),
        ({}, ("--provider", "cuda"), (2, "--provider and --precision go with ONNX files, m.engine computes as it was")),
        (
            {"tensorrt": "11.0.0"},
            (),
            (5, "m.engine does not fit this machine: it was built with tensorrt 11.0.0, here"),
        ),
        ({"plan_sha256": "0" * 64}, (), (6, "m.engine is not the engine its manifest speaks of")),
        ({"backend": "other"}, (), (6, "m.engine.json is no manifest of an engine (backend is 'other'")),
    ],
)
def test_engine_that_cannot_run_ends_with_one_line(
    deblurrt: Deblurrt,
    gpu: FakeGpu,
    picture: Path,
    capsys: Shown,
    changes: dict[str, str],
    options: tuple[str, ...],
    ends: tuple[int, str],
) -> None:
    path = gpu.folder / "m.engine"
    path.write_bytes(PLAN)
    write_manifest(replace(MANIFEST, **{"shapes": SIZES, **changes}), path)  # type: ignore[arg-type]
    assert deblurrt("run", picture, picture.with_name("sharp.png"), "--model", path, *options) == ends[0]
    assert error_line(capsys).startswith(f"error: {ends[1]}")
    assert gpu.trt.calls == []


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_onnx_file_is_refused_with_the_command_that_builds_an_engine(
    deblurrt: Deblurrt, picture: Path, capsys: Shown, backend: str
) -> None:
    sharp = picture.with_name("sharp.png")
    assert deblurrt("run", picture, sharp, "--model", "fast", "--backend", backend) == 2
    said = error_line(capsys)
    assert said.startswith(
        f"error: --backend {backend} runs engines, fast.onnx is an ONNX file; build one for the size"
    )
    assert said.endswith(f"fast.onnx --backend {backend} --size 720x1280 -o fast.engine")


@pytest.mark.fault("E3", "engine without a GPU, through `run`", "one line, exit 5")
def test_missing_gpu_ends_with_5(deblurrt: Deblurrt, gpu: FakeGpu, picture: Path, capsys: Shown) -> None:
    gpu.cuda.gpus = 0
    assert deblurrt("run", picture, picture.with_name("sharp.png"), "--model", written(gpu).path) == 5
    assert error_line(capsys).startswith(
        "error: m.engine does not fit this machine: it needs a GPU, and none was found; deblurrt doctor says"
    )


def test_engine_is_closed_where_its_tensors_are_not_those_of_its_contract(gpu: FakeGpu) -> None:
    engine = written(gpu, contract=FrameContract(window=3))
    with pytest.raises(ModelFileError, match=r"m\.engine: 'frames' is uint8.*, frames need uint8"):
        open_session(engine.path, SessionConfig())
    assert (gpu.cuda.device, set(gpu.cuda.streams)) == ({}, {1, 2})
