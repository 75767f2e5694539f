"""What the calibrator sees, against every value of every frame gone through in a plain loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from deblurrt.calibration import FrameChoice, Frames, choose_frames
from deblurrt.calibration import calibrator as calibrator_module
from deblurrt.calibration.calibrator import CalibrationRun, calibrate, looked_at, seen_shapes
from deblurrt.calibration.graph_view import GraphView
from deblurrt.calibration.histograms import BINS, Histogram
from deblurrt.calibration.tensor_statistics import Statistics, StatisticsKey, network_sha256, save_statistics
from deblurrt.core.errors import ModelFileError
from deblurrt.core.optional import require
from deblurrt.core.pictures import write_picture
from tests.calibration.small_networks import CONTRACT, Network, attentive, dense, residual, write_frames

#: larger than the frames: they are taken whole
WHOLE_PX = 512


@pytest.fixture
def frames(tmp_path: Path) -> Frames:
    return choose_frames(FrameChoice((write_frames(tmp_path / "frames", 6),)), CONTRACT)


def key_of(model: Any, frames: Frames, crop_px: int) -> StatisticsKey:
    return StatisticsKey(network_sha256(model, CONTRACT), frames.sha256, frames.names, 0, crop_px)


def calibrated(model: Any, frames: Frames, crop_px: int = WHOLE_PX, known: Statistics | None = None) -> Statistics:
    names = looked_at(GraphView(model), seen_shapes(model, CONTRACT))
    run = CalibrationRun(model, CONTRACT, frames, 0, crop_px)
    return calibrate(run, names, key_of(model, frames, crop_px), known)


def all_values(model: Any, frames: Frames) -> dict[str, list[NDArray[np.float32]]]:
    """Every tensor of every frame, through ONNX Runtime alone."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    names = [name for node in shown.graph.node for name in node.output]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name != "restored")
    onnxruntime = require("onnxruntime", purpose="tests")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options)
    seen: dict[str, list[NDArray[np.float32]]] = {name: [] for name in ("frames", *names)}
    for shot in frames.calibration:
        given = shot.pixels.transpose(2, 0, 1)[None].astype(np.float32) * np.float32(1 / 255)
        seen["frames"].append(given)
        for name, values in zip(names, session.run(names, {"frames": given}), strict=True):
            seen[name].append(values)
    return seen


@pytest.mark.parametrize("network", [residual, dense, attentive])
def test_streamed_statistics_are_those_of_all_values_at_once(network: Any, frames: Frames) -> None:
    model = network()
    found = calibrated(model, frames)
    seen = all_values(model, frames)
    assert found.is_complete
    assert len(found.histograms) > 4
    for name, histogram in found.histograms.items():
        values = np.concatenate([array.reshape(-1) for array in seen[name]]).astype(np.float64)
        reach = 2.0**histogram.exponent
        counts = np.bincount(((values + reach) * (BINS / 2 / reach)).astype(np.int64), minlength=BINS)
        assert (histogram.least, histogram.most) == (values.min(), values.max()), name
        assert reach / 2 < np.abs(values).max() <= reach, name
        assert (histogram.counts == counts).all(), name
        means = sum(array.mean(axis=(0, 2, 3), dtype=np.float64) for array in seen[name])
        # float32 sums inside the graph
        assert histogram.channel_sums == pytest.approx(means, abs=1e-5), name
        peaks = np.max([np.abs(array).max(axis=(0, 2, 3)) for array in seen[name]], axis=0)
        assert (histogram.channel_peaks == peaks).all(), name


def test_tensors_that_are_looked_at_are_what_convolutions_take_and_give_and_sums() -> None:
    model = residual()
    assert looked_at(GraphView(model), seen_shapes(model, CONTRACT)) == [
        *("frames", "head", "conv1", "relu", "conv2", "add", "tail", "restored")
    ]


def test_vectors_and_computed_weights_of_attention_are_looked_at_only_as_maps() -> None:
    model = attentive()
    names = looked_at(GraphView(model), seen_shapes(model, CONTRACT))
    assert {"pooled", "narrow", "narrow.relu", "widen"} <= set(names)
    assert "weight" not in names


def test_large_tensors_are_sampled_and_their_ends_are_exact(frames: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    model = residual()
    whole = calibrated(model, frames)
    monkeypatch.setattr(calibrator_module, "LEAST_SAMPLE", 1000)
    monkeypatch.setattr(calibrator_module, "MOST_SAMPLE", 1000)
    sampled = calibrated(model, frames)
    for name, histogram in sampled.histograms.items():
        other = whole.histograms[name]
        assert (histogram.least, histogram.most) == (other.least, other.most)
        # 9216 or 12288 values each: steps of 9 and 13, the odd numbers above what 1000 values would want
        per_frame = 1024 if name in ("frames", "tail", "restored") else 946
        assert histogram.counts.sum() == per_frame * len(frames.names)
        assert (histogram.channel_peaks == other.channel_peaks).all()


@pytest.mark.parametrize("done", [1, 2, 3])
def test_resumed_calibration_ends_with_the_same_bytes(frames: Frames, tmp_path: Path, done: int) -> None:
    model = residual()
    whole = calibrated(model, frames, 32)
    parts: list[int] = []

    def stop(seen: int, _total: int) -> None:
        parts.append(seen)
        if seen == done:
            raise KeyboardInterrupt

    names = list(whole.histograms)
    started = Statistics(whole.key, {name: Histogram() for name in names}, 0)
    with pytest.raises(KeyboardInterrupt):
        calibrate(CalibrationRun(model, CONTRACT, frames, 0, 32), names, whole.key, started, stop)
    assert (started.frames, parts[-1]) == (done, done)
    resumed = calibrated(model, frames, 32, started)
    for name, statistics in (("whole", whole), ("resumed", resumed)):
        save_statistics(statistics, tmp_path / name)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "resumed").read_bytes()


def test_crops_depend_on_the_seed_alone(frames: Frames) -> None:
    model = residual()
    names = looked_at(GraphView(model), seen_shapes(model, CONTRACT))
    found = []
    for seed in (0, 0, 1):
        run = CalibrationRun(model, CONTRACT, frames, seed, 16)
        found.append(calibrate(run, names, key_of(model, frames, 16)).histograms["conv1"].counts)
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).any()


def test_memory_is_that_of_a_piece(frames: Frames) -> None:
    # 6 frames of 48x64; of each one piece of 16x16 in 3 channels is counted
    found = calibrated(residual(), frames, 16)
    assert found.histograms["frames"].counts.sum() == len(frames.names) * 16 * 16 * 3


def test_values_that_are_no_numbers_are_refused_wherever_they_are(tmp_path: Path) -> None:
    (tmp_path / "ramps").mkdir()
    ramp = np.repeat(np.linspace(255, 0, 64).astype(np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    for index in range(6):
        write_picture(tmp_path / "ramps" / f"{index}.png", ramp)
    frames = choose_frames(FrameChoice((tmp_path / "ramps",)), CONTRACT)
    net = Network()
    # bright at the left, so that the first value has a root and the last has none
    net.conv("head", "frames", taken=3)
    net.weights[0].CopyFrom(onnx.numpy_helper.from_array(np.full((4, 3, 3, 3), 0.1, np.float32), "head.weight"))
    net.weights[1].CopyFrom(onnx.numpy_helper.from_array(np.full(4, -0.5, np.float32), "head.bias"))
    net.conv("tail", net.node("Sqrt", "root", ["head"]), given=3)
    model = net.model()
    first = all_values(model, frames)["root"][0].reshape(-1)
    assert np.isfinite(first[1])
    assert np.isnan(first).any()
    with pytest.raises(ModelFileError, match="'root' is not finite on ramps/"):
        calibrated(model, frames)
