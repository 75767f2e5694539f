"""``deblurrt run`` as a user meets it: results, and one line for everything that is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file

from deblurrt.core.contract import FrameContract
from deblurrt.core.pictures import read_picture, write_picture
from deblurrt.models import create_model

from .conftest import FRAMES, SIZE

Deblurrt = Callable[..., int]
RUN = ("run", "--backend", "onnxruntime", "--threads", "1", "--model", "identity")


def _one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The error line on standard error; there must be just one, and no traceback."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def _frames(path: Path) -> list[tuple[int, int]]:
    with av.open(str(path)) as container:
        return [(frame.height, frame.width) for frame in container.decode(video=0)]


def test_every_frame_comes_out(deblurrt: Deblurrt, clip: Path, tmp_path: Path) -> None:
    assert deblurrt(*RUN, clip, tmp_path / "out.mp4") == 0
    assert _frames(tmp_path / "out.mp4") == [SIZE] * FRAMES


def test_json_goes_to_standard_output_alone(
    deblurrt: Deblurrt, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    assert deblurrt(*RUN, clip, output, "--json", "-") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["captured"], result["emitted"], result["states"]) == (
        FRAMES,
        {str(output): FRAMES},
        {"deblurred": FRAMES},
    )
    assert set(result["latency_ms"]) == {"count", "p50", "p90", "p99", "p99.9", "max"}


def test_side_by_side_is_twice_as_wide(deblurrt: Deblurrt, clip: Path, tmp_path: Path) -> None:
    assert deblurrt(*RUN, clip, tmp_path / "out.mkv", "--side-by-side") == 0
    assert _frames(tmp_path / "out.mkv") == [(SIZE[0], 2 * SIZE[1])] * FRAMES


def test_folder_of_pictures_comes_out_exact(deblurrt: Deblurrt, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pictures = [np.random.default_rng(index).integers(0, 256, (17, 23, 3), dtype=np.uint8) for index in range(3)]
    for index, picture in enumerate(pictures):
        write_picture(tmp_path / "in" / f"{index:08d}.png", picture)
    assert deblurrt(*RUN, tmp_path / "in", tmp_path / "out") == 0
    restored = [read_picture(path) for path in sorted((tmp_path / "out").iterdir())]
    assert [bool((after == before).all()) for after, before in zip(restored, pictures, strict=True)] == [True] * 3


@pytest.mark.parametrize("model", ["default", "fast"])
@pytest.mark.parametrize("size", [(1, 1), (15, 33), (49, 64)])
def test_odd_sizes_come_out_exact(model: str, size: tuple[int, int], deblurrt: Deblurrt, tmp_path: Path) -> None:
    write_picture(tmp_path / "in.png", np.full((*size, 3), 90, np.uint8))
    options = ("run", "--model", model, "--backend", "onnxruntime", "--threads", "1")
    assert deblurrt(*options, tmp_path / "in.png", tmp_path / "out.png") == 0
    assert read_picture(tmp_path / "out.png").shape == (*size, 3)


def test_nothing_but_the_error_is_said_where_there_is_no_terminal(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt(*RUN, tmp_path / "none.mp4", tmp_path / "out.mp4") == 6
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_missing_source_is_one_line(deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deblurrt(*RUN, tmp_path / "none.mp4", tmp_path / "out.mp4") == 6
    assert "none.mp4" in _one_line(capsys)


def test_text_named_mp4_is_one_line(deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    assert deblurrt(*RUN, tmp_path / "text.mp4", tmp_path / "out.mp4") == 6
    assert "text.mp4" in _one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["text.mp4"]


def test_video_without_frames_is_one_line(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.mp4").touch()
    assert deblurrt(*RUN, tmp_path / "empty.mp4", tmp_path / "out.mp4") == 6
    assert "empty.mp4" in _one_line(capsys)


def test_truncated_video_delivers_what_is_readable(
    deblurrt: Deblurrt, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole.mkv"
    assert deblurrt(*RUN, clip, whole) == 0
    capsys.readouterr()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 9 // 10])
    output = tmp_path / "out.mp4"
    assert deblurrt(*RUN, cut, output) == 8
    assert str(output) in _one_line(capsys)
    assert 0 < len(_frames(output)) < FRAMES


def test_missing_output_folder_is_one_line(
    deblurrt: Deblurrt, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt(*RUN, clip, tmp_path / "none" / "out.mp4") == 7
    assert "mkdir" in _one_line(capsys)


@pytest.mark.fault("K6", "file into file that exists", "one line, exit 7, kept; `--force` replaces it")
def test_existing_output_is_kept_without_force(
    deblurrt: Deblurrt, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    output.write_text("mine")
    assert deblurrt(*RUN, clip, output) == 7
    assert "--force" in _one_line(capsys)
    assert output.read_text() == "mine"
    assert deblurrt(*RUN, clip, output, "--force") == 0
    assert len(_frames(output)) == FRAMES


def test_source_is_never_an_output(deblurrt: Deblurrt, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = clip.read_bytes()
    assert deblurrt(*RUN, clip, clip, "--force") == 2
    assert "source" in _one_line(capsys)
    assert clip.read_bytes() == before


@pytest.mark.fault("K1", "file into file, which cannot grow", "one line, exit 7, nothing left")
def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, clip: Path) -> None:
    """A child with a file size limit stands for the full disk; SIGXFSZ ignored, writing then fails."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        "from deblurrt.cli.main import main; sys.argv[0] = 'deblurrt'; main()"
    )
    output = tmp_path / "out.mp4"
    command = [sys.executable, "-c", code, *RUN, str(clip), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 7
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if "error: " in line and str(output) in line]
    assert list(tmp_path.iterdir()) == []


def test_file_that_is_no_model_is_one_line(
    deblurrt: Deblurrt, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model" * 50)
    assert deblurrt(*RUN[:-1], tmp_path / "model.onnx", clip, tmp_path / "out.mp4") == 6
    assert "not an ONNX model" in _one_line(capsys)
    assert not (tmp_path / "out.mp4").exists()


def test_unknown_model_names_the_shipped_ones(
    deblurrt: Deblurrt, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt(*RUN[:-1], "sharpest", clip, tmp_path / "out.mp4") == 6
    assert "default, fast, identity" in _one_line(capsys)


def test_model_for_another_number_of_channels_is_one_line(
    deblurrt: Deblurrt, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape: list[str | int | None] = ["batch", "height", "width", 1]
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in ("frames", "restored")]
    graph = helper.make_graph([helper.make_node("Identity", ["frames"], ["restored"])], "grey", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {"deblurrt.contract": FrameContract().to_json()})
    onnx.save(model, str(tmp_path / "grey.onnx"))
    assert deblurrt(*RUN[:-1], tmp_path / "grey.onnx", clip, tmp_path / "out.mp4") == 6
    line = _one_line(capsys)
    assert "'width', 1]" in line
    assert "'width', 3]" in line


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_leaves_a_playable_file(number: int, code: int, clip: Path, tmp_path: Path) -> None:
    """The child signals itself once three frames are written, so that nothing depends on speed."""
    script = (
        "import os, sys; from deblurrt.cli.main import main; from deblurrt.runtime import video_sink\n"
        "write, seen = video_sink.VideoFileSink.write, []\n"
        "def counted(self, frame):\n"
        "    write(self, frame); seen.append(1)\n"
        f"    if len(seen) == 3: os.kill(os.getpid(), {int(number)})\n"
        "video_sink.VideoFileSink.write = counted; sys.argv[0] = 'deblurrt'; main()\n"
    )
    output = tmp_path / "out.mp4"
    command = [sys.executable, "-c", script, *RUN, str(clip), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=dict(os.environ))
    assert done.returncode == code, done.stderr
    assert 3 <= len(_frames(output)) <= FRAMES
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_networks_of_the_zoo_run_in_pytorch(
    deblurrt: Deblurrt, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three frames in, one ahead of the restored one; a network of the zoo with its checkpoint."""
    network = create_model("kaist_net", in_frames=3, channels=2)
    save_file(network.state_dict(), tmp_path / "small.safetensors")
    options = ("--model", "kaist_net", "--checkpoint", tmp_path / "small.safetensors", "--threads", "1")
    assert deblurrt("run", clip, tmp_path / "sharper.mp4", *options, "--json", "-") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["captured"] == summary["emitted"][str(tmp_path / "sharper.mp4")] == 12
    assert summary["backend"].startswith("PyTorch")


def test_enlarging_network_writes_pictures_four_times_as_large(deblurrt: Deblurrt, clip: Path, tmp_path: Path) -> None:
    widths = {"n_feat": 16, "scale_unetfeats": 8, "scale_orsnetfeats": 8}
    network = create_model("mprnet_sr", **widths, num_cab=1, groups=1, blocks=1)
    torch.save(network.state_dict(), tmp_path / "small.pth")
    options = ("--model", "mprnet_sr", "--checkpoint", tmp_path / "small.pth", "--threads", "1", "--side-by-side")
    assert deblurrt("run", clip, tmp_path / "large.mp4", tmp_path / "pictures", *options, "--no-guard") == 0
    with av.open(str(tmp_path / "large.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.height, stream.width) == (4 * 48, 2 * 4 * 64)
    assert len(list((tmp_path / "pictures").iterdir())) == 12


def _black_network(path: Path) -> Path:
    """A network that gives black pictures."""
    shape: list[str | int | None] = ["batch", "height", "width", 3]
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in ("frames", "restored")]
    zero = helper.make_tensor("zero", TensorProto.UINT8, [], [0])
    graph = helper.make_graph(
        [helper.make_node("BitwiseAnd", ["frames", "zero"], ["restored"])], "black", values[:1], values[1:], [zero]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {"deblurrt.contract": FrameContract().to_json()})
    onnx.save(model, str(path))
    return path


@pytest.mark.fault("E2", "network of a file gives black pictures", "untouched frames, counted by cause; exit 8")
def test_picture_that_cannot_be_right_is_never_written(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blurred = np.random.default_rng(0).integers(60, 200, (40, 56, 3), dtype=np.uint8)
    write_picture(tmp_path / "in.png", blurred)
    options = ("--model", _black_network(tmp_path / "black.onnx"), "--ledger", tmp_path / "frames.jsonl")
    assert deblurrt(*RUN[:-2], *options, tmp_path / "in.png", tmp_path / "out.png", "--json", tmp_path / "s.json") == 8
    line = _one_line(capsys)
    assert "1 of 1 frames went out untouched: the network gave a black picture (1 times)" in line
    assert "--no-guard" in line
    assert (read_picture(tmp_path / "out.png") == blurred).all()
    summary = json.loads((tmp_path / "s.json").read_text())
    assert (summary["states"]["pass_fault"], summary["faults"]) == (1, {"the network gave a black picture": 1})
    assert json.loads((tmp_path / "frames.jsonl").read_text())["state"] == "PASS_FAULT"


def test_guard_can_be_left_out(deblurrt: Deblurrt, tmp_path: Path) -> None:
    write_picture(tmp_path / "in.png", np.full((40, 56, 3), 90, np.uint8))
    options = ("--model", _black_network(tmp_path / "black.onnx"), "--no-guard")
    assert deblurrt(*RUN[:-2], *options, tmp_path / "in.png", tmp_path / "out.png") == 0
    assert read_picture(tmp_path / "out.png").max() == 0


def test_checkpoint_for_a_file_is_wrong_usage(deblurrt: Deblurrt, clip: Path, tmp_path: Path) -> None:
    assert deblurrt("run", clip, tmp_path / "out.mp4", "--checkpoint", tmp_path / "w.pth") == 2
    assert not (tmp_path / "out.mp4").exists()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Wider than the tiles below: the halo of ``default`` is 121 px, its multiple 16."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8).repeat(6, 0).repeat(6, 1)
    write_picture(tmp_path / "in.png", pixels[:, :355])
    return tmp_path / "in.png"


TILED = ("run", "--backend", "onnxruntime", "--threads", "1", "--model", "default")


def test_tiles_give_the_picture_of_the_whole_frame(
    deblurrt: Deblurrt, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt(*TILED, picture, tmp_path / "whole.png") == 0
    capsys.readouterr()
    assert deblurrt(*TILED, picture, tmp_path / "tiled.png", "--tile", "288x320", "--json", "-") == 0
    assert "4 tiles of 288x320, 3.46 times the pixels" in json.loads(capsys.readouterr().out)["backend"]
    np.testing.assert_array_equal(read_picture(tmp_path / "tiled.png"), read_picture(tmp_path / "whole.png"))


def test_tile_that_is_all_halo_is_one_line_with_the_smallest(
    deblurrt: Deblurrt, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt(*TILED, picture, tmp_path / "out.png", "--tile", "256x320") == 2
    assert "the smallest tile for it is --tile 272x320" in _one_line(capsys)
    assert not (tmp_path / "out.png").exists()


def test_tiles_of_a_network_that_sees_the_whole_frame_are_refused(
    deblurrt: Deblurrt, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = create_model("wrcan", n_feats=4, n_resgroups=1, n_resblocks=1)
    torch.save(network.state_dict(), tmp_path / "small.pth")
    options = ("--model", "wrcan", "--checkpoint", tmp_path / "small.pth", "--threads", "1", "--tile", "160x192")
    assert deblurrt("run", picture, tmp_path / "out.png", *options) == 2
    assert "--tile 160x192 --tile-inexact 64" in _one_line(capsys)


def test_agreed_inexact_tiles_are_said_with_the_measured_error(
    deblurrt: Deblurrt, picture: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = create_model("wrcan", n_feats=4, n_resgroups=1, n_resblocks=1)
    torch.save(network.state_dict(), tmp_path / "small.pth")
    tiles = ("--tile", "160x192", "--tile-inexact", "16")
    options = ("--model", "wrcan", "--checkpoint", tmp_path / "small.pth", "--threads", "1", "--no-guard", *tiles)
    assert deblurrt("run", picture, tmp_path / "out.png", *options) == 0
    said = [record.getMessage() for record in caplog.records if "need not equal the whole frame" in record.getMessage()]
    assert len(said) == 1
    assert re.search(r"differ by up to [\d.]+ of 255 levels, [\d.]+ dB", said[0])


def test_inexact_without_tiles_is_wrong_usage(
    deblurrt: Deblurrt, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt(*TILED, picture, tmp_path / "out.png", "--tile-inexact", "8") == 2
    assert "give --tile HxW as well" in _one_line(capsys)
