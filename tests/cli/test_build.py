"""``deblurrt build``, ``cache`` and ``inspect`` of engines, with real builds by TensorRT-RTX."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deblurrt.cli.trtexec import batch_from, shapes_from, workspace_from
from deblurrt.core.artifacts import CONTRACT_KEY
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import UsageError
from deblurrt.core.manifest import manifest_path, read_manifest
from deblurrt.engines.build_config import Shapes
from tests.tiny_graphs import write_identity

pytest.importorskip("tensorrt_rtx", reason="the extra rtx is not installed")

Deblurrt = Callable[..., int]
Shown = pytest.CaptureFixture[str]

RTX = ("--backend", "tensorrt-rtx")


@pytest.fixture(scope="module")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_home))


@pytest.fixture
def engine(deblurrt: Deblurrt, tmp_path: Path) -> Path:
    path = tmp_path / "fast.engine"
    assert deblurrt("build", "fast", *RTX, "--size", "64x96", "-o", path) == 0
    return path


def test_engine_has_a_manifest_and_the_second_build_is_found_without_torch(engine: Path, cache_home: Path) -> None:
    manifest = read_manifest(engine)
    assert (manifest.model, manifest.backend, manifest.shapes[0]) == ("fast", "tensorrt-rtx", (64, 96))
    assert manifest.precision == {"fp16": 1.0}
    code = (
        "import sys; from deblurrt.cli.main import command\n"
        "options = ['--backend', 'tensorrt-rtx', '--size', '64x96', '--force', '--json', '-']\n"
        f"command.main(['build', 'fast', *options, '-o', {str(engine)!r}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules and 'tensorrt_rtx' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["cached"] is True
    assert told["reason"] == "everything that decides it is the same"
    assert told["plan_sha256"] == manifest.plan_sha256


def test_damaged_engine_names_the_command_that_built_it(deblurrt: Deblurrt, tmp_path: Path, capsys: Shown) -> None:
    path = tmp_path / "a.engine"
    options = ("--targets", "sm89,sm86", "--size", "64x96", "--optimization-level", "1", "--allow-mixed")
    assert deblurrt("build", "fast", *RTX, *options, "-o", path, "--force") == 0
    path.write_bytes(path.read_bytes()[:-1])
    assert deblurrt("inspect", path) == 6
    said = capsys.readouterr().err
    command = "deblurrt build fast --backend tensorrt-rtx --size 64x96 --targets sm89,sm86 --optimization-level 1"
    assert f"{command} --allow-mixed -o {path} --force" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fast.onnx", "-o", "fast.onnx", "--force"], "-o and MODEL are both fast.onnx"),
        (["fast", "-o", "a.engine", "--json", "a.engine"], "--json and -o are both a.engine"),
        (["fast", "-o", "a.engine", "--json", "a.engine.json"], "--json and -o's manifest are both a.engine.json"),
        (["fast", "--workspace", "5", "--memPoolSize=workspace:5"], "--workspace and --memPoolSize say the same"),
        (["fast", "--time-limit", "inf"], "the time limit is inf s"),
        (["fast", "--time-limit", "nan"], "the time limit is nan s"),
    ],
)
def test_clashing_choices_are_refused_before_any_work(
    deblurrt: Deblurrt,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Shown,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast.onnx").write_bytes(b"mine")
    assert deblurrt("build", *arguments, *RTX) == 2
    assert said in capsys.readouterr().err
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]


def test_other_sizes_are_a_miss_that_is_explained(
    deblurrt: Deblurrt, engine: Path, tmp_path: Path, capsys: Shown
) -> None:
    other = tmp_path / "other.engine"
    options = ("--optShapes=frames:1x64x96x3", "--maxShapes=frames:1x96x128x3", "--memPoolSize=workspace:64")
    assert deblurrt("build", "fast", *RTX, *options, "-o", other, "--json", "-") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cached"] is False
    assert "differs: onnx_sha256 is" in told["reason"]
    assert 'options is {"workspace_mib": 64}, there {}' in told["reason"]
    assert told["shapes"] == [[64, 96], [64, 96], [96, 128]]


def test_engine_for_three_frames_has_them_in_its_profile(deblurrt: Deblurrt, tmp_path: Path, capsys: Shown) -> None:
    path = tmp_path / "three.engine"
    assert deblurrt("build", "fast", *RTX, "--size", "64x96", "--batch", "3", "-o", path) == 0
    manifest, plan = read_manifest(path), path.read_bytes()
    assert (manifest.batch_max, manifest.shapes) == (3, ((64, 96),) * 3)
    assert manifest.command.endswith("--size 64x96 --batch 3")
    # smallest and largest shape of the profile lie in the plan as they are
    found = {count: np.array([count, 64, 96, 3], np.int64).tobytes() in plan for count in (1, 2, 3, 4)}
    assert found == {1: True, 2: False, 3: True, 4: False}
    capsys.readouterr()
    assert deblurrt("inspect", path) == 0
    assert "64x96, up to 3 at once, fast for 3" in capsys.readouterr().out
    assert deblurrt("cache", "list") == 0
    assert deblurrt("build", f"--onnx={tmp_path / 'none.onnx'}", *RTX, "--optShapes=2x64x96x3", "--batch", "3") == 2
    assert "--batch is 3, the shapes are of 2 frames at once" in capsys.readouterr().err


def test_interrupted_build_ends_with_130_and_leaves_nothing(
    deblurrt: Deblurrt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_bar: object, event: dict[str, Any]) -> None:
        if event["event"] == "building":
            raise KeyboardInterrupt

    monkeypatch.setattr("deblurrt.cli.build_progress.BuildBar.event", interrupt)
    monkeypatch.chdir(tmp_path)
    assert deblurrt("build", "fast", *RTX, "--shapes", "frames:1x72x96x3") == 130
    assert list(tmp_path.iterdir()) == []


def test_file_keeps_its_types_unless_others_are_asked_for(deblurrt: Deblurrt, tmp_path: Path) -> None:
    file, exact, half = (tmp_path / name for name in ("fast.onnx", "exact.engine", "half.engine"))
    assert deblurrt("export", "fast", "--size", "64x96", "-o", file) == 0
    assert deblurrt("build", file, *RTX, "-o", exact) == 0
    assert deblurrt("build", f"--onnx={file}", *RTX, "--fp16", "--size", "64x96", f"--saveEngine={half}") == 0
    assert read_manifest(exact).precision == {"fp32": 1.0}
    assert read_manifest(half).precision == {"fp16": 1.0}


def strange_file(path: Path) -> Path:
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, "height", "width"])
        for name in ("frames", "restored")
    ]
    node = helper.make_node("Strange", ["frames"], ["restored"], name="body.3/strange", domain="nobody")
    graph = helper.make_graph([node], "strange", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("nobody", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.helper.set_model_props(model, {CONTRACT_KEY: FrameContract(io="float").to_json()})
    onnx.save(model, path)
    return path


def folded_file(path: Path) -> None:
    """A file whose input promises any number of frames, and whose graph makes one of them."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, "height", "width"])
        for name in ("frames", "restored")
    ]
    shape = helper.make_tensor("shape", TensorProto.INT64, [4], [1, -1, 64, 64])
    node = helper.make_node("Reshape", ["frames", "shape"], ["restored"], name="body/view")
    graph = helper.make_graph([node], "folded", values[:1], values[1:], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.helper.set_model_props(model, {CONTRACT_KEY: FrameContract(io="float").to_json()})
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["fast", *RTX, "--targets", "sm87"], 2, "sm87 is not among what tensorrt_rtx builds: sm75"),
        (["fast", *RTX, "--size", "80x96", "--memory", "1"], 5, "MiB on the device, 1 MiB are free"),
        (["fast", *RTX, "--size", "64x96", "--shapes", "8x8/8x8/8x8"], 2, "sizes are given twice"),
        (["fast", *RTX, "--shapes", "64"], 2, "expected MIN/OPT/MAX"),
        (["fast", *RTX, "--fp16", "--bf16"], 2, "give one"),
        (["fast", *RTX, "--batch", "0"], 2, "the batch is 0 frames, expected 1 to 64"),
        (["one.onnx", *RTX, "--batch", "4"], 2, "one.onnx is fixed to 1 frame at once, asked for up to 4"),
        (["folded.onnx", *RTX, "--size", "64x64", "--batch", "2"], 6, "folded.onnx gives [1, 6, 64, 64] for 2 frames"),
        (["strange.onnx", *RTX, "--size", "64x64"], 6, "node 'body.3/strange' (Strange)"),
        (["text.onnx", *RTX, "--size", "64x64"], 6, "is not an ONNX model"),
        (["old.engine", *RTX], 2, "is an engine already"),
        (["nobody", *RTX], 6, "no file at nobody"),
        ([*RTX], 2, "give one MODEL"),
    ],
)
def test_unfit_arguments_end_with_one_line_and_touch_nothing(
    deblurrt: Deblurrt,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Shown,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    strange_file(tmp_path / "strange.onnx")
    write_identity(tmp_path / "one.onnx", FrameContract(), shape=(1, 64, 64, 3))
    folded_file(tmp_path / "folded.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "old.engine").write_bytes(b"older")
    (tmp_path / "out.engine").write_bytes(b"older")
    before = sorted(tmp_path.iterdir())
    assert deblurrt("build", *arguments, "-o", "out.engine", "--force") == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert said in line
    assert (tmp_path / "out.engine").read_bytes() == b"older"
    assert sorted(tmp_path.iterdir()) == before


def damaged(engine: Path, how: str) -> Path:
    if how == "truncated":
        engine.write_bytes(engine.read_bytes()[:1000])
    elif how == "changed":
        engine.write_bytes(engine.read_bytes()[:-1] + b"x")
    elif how == "edited":
        told: dict[str, Any] = json.loads(manifest_path(engine).read_text())
        manifest_path(engine).write_text(json.dumps(told | {"plan_bytes": "many"}))
    else:
        manifest_path(engine).unlink()
    return engine


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("truncated", "is cut short (1000 bytes of"),
        ("changed", "is not the engine its manifest speaks of"),
        ("edited", "is no manifest of an engine (plan_bytes is 'many', expected int)"),
        ("alone", "has no manifest fast.engine.json beside it"),
    ],
)
def test_damaged_engine_is_refused_with_what_to_do(
    deblurrt: Deblurrt, engine: Path, capsys: Shown, how: str, said: str
) -> None:
    damaged(engine, how)
    assert deblurrt("inspect", engine) == 6
    line = capsys.readouterr().err.splitlines()[-1]
    assert said in line
    assert "build" in line.partition(said)[2]


def test_engine_is_shown_with_what_keeps_it_from_running_here(deblurrt: Deblurrt, engine: Path, capsys: Shown) -> None:
    capsys.readouterr()
    assert deblurrt("inspect", engine) == 0
    shown = capsys.readouterr().out
    for part in ("100.0% fp16", "64x96", "none in particular: portable", read_manifest(engine).plan_sha256):
        assert part in shown


def test_cache_lists_prunes_and_clears(deblurrt: Deblurrt, engine: Path, capsys: Shown) -> None:
    capsys.readouterr()
    assert deblurrt("cache", "list", "--json", "-") == 0
    engines = json.loads(capsys.readouterr().out)["engines"]
    assert read_manifest(engine).plan_sha256 in [entry["plan_sha256"] for entry in engines]
    assert deblurrt("cache", "path", "--only", "engines") == 0
    assert capsys.readouterr().out.strip().endswith("deblurrt/engines")
    assert deblurrt("cache", "prune", "--max-size", "0") == 0
    assert f"dropped {len(engines)} engines" in capsys.readouterr().err
    assert deblurrt("cache", "clear") == 0
    assert "dropped 0 engines" in capsys.readouterr().err
    assert deblurrt("inspect", engine) == 0


@pytest.mark.parametrize(
    ("spelled", "contract", "shapes"),
    [
        (("a:1x8x8x3", "a:1x16x24x3", "a:1x32x32x3"), FrameContract(), Shapes((8, 8), (16, 24), (32, 32))),
        ((None, "1x3x16x24x3", None), FrameContract(window=3), Shapes((16, 24), (16, 24), (16, 24))),
        (("1x3x8x8", None, "1x3x16x16"), FrameContract(io="float"), Shapes((8, 8), (16, 16), (16, 16))),
        ((None, None, None), FrameContract(), None),
    ],
)
def test_shapes_in_trtexecs_spelling(
    spelled: tuple[str | None, str | None, str | None], contract: FrameContract, shapes: Shapes | None
) -> None:
    assert shapes_from(*spelled, contract) == shapes


@pytest.mark.parametrize(
    ("spelled", "batch"),
    [
        (("a:1x8x8x3", "a:4x16x24x3", "a:4x32x32x3"), 4),
        ((None, "a:4x16x24x3", None), 4),
        ((None, "1x16x24x3", "8x16x24x3"), "--optShapes is of 1 frames at once, expected 8"),
        (("2x16x24x3", "4x16x24x3", None), "--minShapes is of 2 frames at once, expected 1"),
        (("1x16x24x3", None, None), 1),
        ((None, "64x64/72x96/96x128", None), None),
        ((None, None, None), None),
    ],
)
def test_frames_at_once_in_trtexecs_spelling(
    spelled: tuple[str | None, str | None, str | None], batch: int | str | None
) -> None:
    if isinstance(batch, str):
        with pytest.raises(UsageError, match=batch):
            batch_from(*spelled)
    else:
        assert batch_from(*spelled) == batch
        assert batch is None or shapes_from(*spelled, FrameContract()) is not None


@pytest.mark.parametrize("text", ["720x1280", "frames:2x720x1280x4", "frames:1x3x720x1280"])
def test_other_shapes_are_refused_with_the_right_one(text: str) -> None:
    with pytest.raises(UsageError, match=r"--optShapes is .*, (expected a shape|this network takes frames as)"):
        shapes_from(None, text, None, FrameContract())


@pytest.mark.parametrize(
    ("pool", "mebibytes"),
    [("workspace:1024", 1024), ("workspace:2G", 2048), ("workspace:0.5M", 1), ("workspace:64mib", 64), (None, None)],
)
def test_pool_in_trtexecs_spelling(pool: str | None, mebibytes: int | None) -> None:
    assert workspace_from(pool) == mebibytes
