"""``deblurrt compare``: figures, frames, gate, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper

from deblurrt.core.contract import FrameContract
from deblurrt.core.pictures import write_picture
from deblurrt.export.parity import sample_windows
from deblurrt.models import create_model
from deblurrt.runtime.shipped_models import find_model
from tests.models.small_zoo import SMALL
from tests.tiny_graphs import FLOAT_FRAMES, FLOATS, value, write_conv, write_graph, write_identity

Deblurrt = Callable[..., int]
Shown = pytest.CaptureFixture[str]

#: the centre tap alone: the picture times a factor
CENTRE = np.einsum("oi,yx->oiyx", np.eye(3), np.outer([0, 1, 0], [0, 1, 0])).astype(np.float32)
FLOAT = FrameContract(io="float")


def scaled(path: Path, factor: float, contract: FrameContract = FLOAT) -> Path:
    return write_conv(path, CENTRE * np.float32(factor), contract)


def window_of_three(path: Path, frame: int) -> Path:
    """Write a float graph that gives one frame of its window."""
    bounds = [
        numpy_helper.from_array(np.array([number]), name)
        for name, number in (("start", 3 * frame), ("end", 3 * frame + 3), ("axis", 1))
    ]
    node = helper.make_node("Slice", ["frames", "start", "end", "axis"], ["restored"])
    values = [value("frames", FLOATS, ("batch", 9, "height", "width"))], [value("restored", FLOATS, FLOAT_FRAMES)]
    return write_graph(path, [node], values, bounds, FrameContract(io="float", window=3).to_json())


@pytest.fixture
def compared(deblurrt: Deblurrt, capsys: Shown) -> Callable[..., dict[str, Any]]:
    """Run the command and read its JSON."""

    def call(*arguments: object) -> dict[str, Any]:
        assert deblurrt("compare", *arguments, "--json", "-") == 0
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


def test_model_equals_itself(compared: Callable[..., dict[str, Any]]) -> None:
    result = compared("fast", "fast", "--size", "40x56")
    assert next(iter(result)) == "psnr_db"
    assert (result["psnr_db"], result["unit"], result["passed"]) == (100.0, "grey levels", True)
    assert (result["frames"][0]["max_abs"], result["frames"][0]["size"]) == (0.0, [40, 56])


def test_figures_are_those_of_the_pictures(compared: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    # two fifths of a whole number never lie half between two others
    result = compared("identity", scaled(tmp_path / "darker.onnx", 0.4), "--size", "32x48")
    pixels = sample_windows(1, [(32, 48)])[0][0]
    difference = pixels - np.rint(pixels * 0.4)
    frame = result["frames"][0]
    assert frame["max_abs"] == difference.max()
    assert frame["mean_abs"] == pytest.approx(difference.mean(), rel=1e-12)
    assert frame["psnr_db"] == pytest.approx(10 * np.log10(255**2 / np.mean(difference**2)), abs=1e-9)
    assert 0 < frame["ssim"] < 1


def test_made_pictures_have_several_sizes_and_are_shown(deblurrt: Deblurrt, tmp_path: Path, capsys: Shown) -> None:
    bare = scaled(tmp_path / "0.onnx", 1), scaled(tmp_path / "1.onnx", 0.99)
    assert deblurrt("compare", *bare) == 0
    shown = capsys.readouterr().out
    assert [part for part in ("96x128", "129x175", "256x320", "0..1") if part not in shown] == []


def test_bare_networks_are_compared_on_the_unit_scale_without_rounding(
    compared: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    bytes_range = FrameContract(io="float", range="0..255", multiple=16)
    one, other = scaled(tmp_path / "a.onnx", 1), scaled(tmp_path / "b.onnx", 1 + 1e-4, bytes_range)
    result = compared(one, other, "--size", "33x47")
    largest = sample_windows(1, [(33, 47)])[0][0].max() / 255
    assert result["unit"] == "0..1"
    assert result["frames"][0]["size"] == [33, 47]
    assert result["frames"][0]["max_abs"] == pytest.approx(1e-4 * largest, rel=1e-2)  # float32 keeps 3 digits of 1e-4


def test_both_models_are_described(compared: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    bare = scaled(tmp_path / "bare.onnx", 1)
    result = compared("identity", bare, "--size", "16x16")
    assert [model["model"] for model in result["models"]] == ["identity", str(bare)]
    assert all(model["backend"].startswith("ONNX Runtime") for model in result["models"])
    assert [model["contract"]["io"] for model in result["models"]] == ["uint8", "float"]
    assert all(len(model["weights"]) == 64 for model in result["models"])


def test_network_is_compared_with_its_checkpoint(compared: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    network = create_model("carlo_net", seed=1, **SMALL["carlo_net"])
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    options = ("--size", "32x32", "--checkpoint", tmp_path / "weights.pth")
    assert compared("carlo_net", "carlo_net", *options)["psnr_db"] == 100.0
    mixed = compared("identity", "carlo_net", *options)
    assert mixed["models"][1]["backend"].startswith("PyTorch")
    assert 10 < mixed["psnr_db"] < 60


def test_first_frames_of_a_clip_are_compared(
    compared: Callable[..., dict[str, Any]], clip: Path, tmp_path: Path
) -> None:
    result = compared("identity", scaled(tmp_path / "a.onnx", 0.9), "--data", clip)
    assert [frame["size"] for frame in result["frames"]] == [[48, 64]] * 8


def test_size_takes_the_middle_of_each_frame(compared: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    pixels = np.zeros((20, 24, 3), np.uint8)
    pixels[6:14, 8:16] = 100
    write_picture(tmp_path / "p.png", pixels)
    black = scaled(tmp_path / "black.onnx", 0)
    result = compared("identity", black, "--data", tmp_path / "p.png", "--size", "8x8")
    assert [(frame["size"], frame["mean_abs"], frame["ssim"]) for frame in result["frames"]] == [([8, 8], 100.0, None)]


def test_networks_of_three_frames_get_their_neighbours(compared: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    windows = [pixels for window in sample_windows(1, [(16, 16)] * 2) for pixels in window]
    (tmp_path / "frames").mkdir()
    for index, pixels in enumerate(windows):
        write_picture(tmp_path / "frames" / f"{index}.png", pixels)
    previous, current = (window_of_three(tmp_path / f"{frame}.onnx", frame) for frame in (0, 1))
    result = compared(previous, current, "--data", tmp_path / "frames")
    moved = np.abs(windows[0] / 255 - windows[1] / 255).max()
    assert [frame["max_abs"] for frame in result["frames"]] == pytest.approx([0, moved], abs=1e-6)


def test_missed_minimum_ends_with_3_after_the_result(deblurrt: Deblurrt, tmp_path: Path, capsys: Shown) -> None:
    darker = scaled(tmp_path / "darker.onnx", 0.9)
    assert deblurrt("compare", "identity", darker, "--psnr-min", "45", "--size", "40x40", "--json", "-") == 3
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert (result["passed"], result["psnr_min_db"]) == (False, 45.0)
    assert f"PSNR is {result['psnr_db']:.2f} dB, wanted at least 45" in shown.err
    assert f"{darker} in place of identity changes the result at 40x40" in shown.err


def test_met_minimum_ends_with_0(compared: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    assert compared("identity", scaled(tmp_path / "a.onnx", 0.99), "--psnr-min", "30")["passed"] is True


def test_models_of_other_scale_or_window_are_wrong_usage(deblurrt: Deblurrt, tmp_path: Path, capsys: Shown) -> None:
    larger = write_identity(tmp_path / "larger.onnx", FrameContract(scale=4))
    assert deblurrt("compare", "identity", larger) == 2
    assert f"identity has a scale of 1, {larger} of 4" in capsys.readouterr().err
    three = window_of_three(tmp_path / "three.onnx", 1)
    assert deblurrt("compare", three, "identity") == 2
    assert f"{three} has a window of 3, identity of 1" in capsys.readouterr().err


def test_network_smaller_than_it_promises_is_refused(deblurrt: Deblurrt, tmp_path: Path, capsys: Shown) -> None:
    larger = write_identity(tmp_path / "larger.onnx", FrameContract(scale=4))
    assert deblurrt("compare", larger, larger, "--size", "16x16") == 6
    assert "expected at least [64, 64, 3]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("fast",), 2, "Missing argument 'B'"),
        (("fast", "none.onnx"), 6, "no model 'none.onnx'"),
        (("fast", "nosuchmodule:factory"), 2, "nosuchmodule:factory cannot be imported"),
        (("fast", "fast", "--checkpoint", "w.pth"), 2, "--checkpoint and --tlsc go with networks"),
        (("fast", "fast", "--data", "none.mp4"), 6, "no video, picture or folder at none.mp4"),
        (("fast", "fast", "--size", "40"), 2, "is no size"),
        (("fast", "fast", "--json", "none/result.json"), 7, "does not exist"),
    ],
)
def test_what_cannot_be_compared_is_said(
    deblurrt: Deblurrt, arguments: tuple[str, ...], code: int, expected: str, capsys: Shown
) -> None:
    assert deblurrt("compare", *arguments) == code
    assert expected in capsys.readouterr().err


def test_frame_smaller_than_the_size_is_refused(deblurrt: Deblurrt, clip: Path, capsys: Shown) -> None:
    assert deblurrt("compare", "identity", "identity", "--data", clip, "--size", "48x65") == 6
    assert "a frame is 48x64, smaller than --size 48x65" in capsys.readouterr().err


def test_missing_backend_ends_with_5(deblurrt: Deblurrt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert deblurrt("compare", "identity", "identity", "--size", "16x16") == 5


def test_polygraphy_repeats_the_comparison(deblurrt: Deblurrt, tmp_path: Path) -> None:
    """It runs the file on the saved frames, finds the saved results, and objects to those of another model."""
    inputs, outputs, others = (tmp_path / name for name in ("inputs.json", "outputs.json", "others.json"))
    path = find_model("default")
    options = ("--size", "33x50", "--save-inputs", inputs, "--save-outputs")
    assert deblurrt("compare", "default", path, *options, outputs) == 0
    assert deblurrt("compare", "identity", path, *options, others, "--force") == 0
    polygraphy = Path(sys.executable).with_name("polygraphy")
    command: list[str | Path] = [polygraphy, "run", path, "--onnxrt", "--load-inputs", inputs, "--load-outputs"]
    results = [subprocess.run([*command, saved, "--abs", "0"], check=False).returncode for saved in (outputs, others)]
    assert results == [0, 1]


def test_results_in_bytes_are_not_saved_for_a_file_that_gives_floats(
    deblurrt: Deblurrt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare.onnx"
    assert deblurrt("export", "default", "--io", "float", "-o", bare) == 0
    assert deblurrt("compare", "default", bare, "--save-outputs", tmp_path / "o.json") == 2
    assert "gives floats (--io uint8)" in capsys.readouterr().err
    assert not (tmp_path / "o.json").exists()


@pytest.mark.parametrize("least", ["nan", "-1", "100.1", "inf", "many"])
def test_minimum_that_no_picture_misses_or_meets_is_refused(deblurrt: Deblurrt, capsys: Shown, least: str) -> None:
    assert deblurrt("compare", "identity", "identity", "--size", "16x16", "--psnr-min", least) == 2
    assert "--psnr-min" in capsys.readouterr().err


def test_equal_models_reach_the_largest_minimum(compared: Callable[..., dict[str, Any]]) -> None:
    assert compared("identity", "identity", "--size", "16x16", "--psnr-min", "100")["passed"] is True


@pytest.mark.parametrize("option", ["--save-inputs", "--save-outputs"])
def test_saved_frames_replace_nothing_without_force(deblurrt: Deblurrt, tmp_path: Path, option: str) -> None:
    place = tmp_path / "saved.json"
    place.write_text("mine")
    command = ("compare", "identity", "identity", "--size", "16x16", option, place)
    assert deblurrt(*command) == 7
    assert place.read_text() == "mine"
    assert deblurrt(*command, "--force") == 0
    assert place.read_text() != "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--save-inputs", "a.json", "--save-outputs", "./a.json"), "--save-outputs and --save-inputs are both a.json"),
        (("--save-inputs", "m.onnx"), "--save-inputs and A are both m.onnx"),
        (("--save-outputs", "p.png", "--data", "p.png"), "--save-outputs and --data are both p.png"),
        (("--save-outputs", "a.json", "--json", "a.json"), "--json and --save-outputs are both a.json"),
        (("--json", "m.onnx"), "--json and A are both m.onnx"),
    ],
)
def test_one_file_is_not_two(
    deblurrt: Deblurrt,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Shown,
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    scaled(tmp_path / "m.onnx", 1)
    write_picture(tmp_path / "p.png", np.zeros((16, 16, 3), np.uint8))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert deblurrt("compare", "m.onnx", "identity", "--force", *options) == 2
    assert message in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
