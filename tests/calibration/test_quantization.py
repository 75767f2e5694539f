"""A quantisation from frames to file: the same again, resumed, refused, within its budget."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import onnx
import pytest

from deblurrt.calibration import FrameChoice, Frames, Quantization, QuantizeConfig, Trial, choose_frames, quantize
from deblurrt.calibration import calibrator as calibrator_module
from deblurrt.calibration import quantization as quantization_module
from deblurrt.calibration.frames import FrameList
from deblurrt.calibration.tensor_statistics import load_statistics
from deblurrt.core.artifacts import open_onnx
from deblurrt.core.errors import InputError, QualityError, UsageError
from tests.calibration.small_networks import CONTRACT, attentive, dense, residual, shuffled, write_frames, write_pairs


@pytest.fixture
def frames(tmp_path: Path) -> Frames:
    return choose_frames(FrameChoice((write_pairs(tmp_path / "pairs", 8),)), CONTRACT)


@pytest.fixture
def pictures(tmp_path: Path) -> Frames:
    """Frames nobody knows the sharp form of: what is lost is counted against the float result, so never below 0."""
    return choose_frames(FrameChoice((write_frames(tmp_path / "pictures", 8),)), CONTRACT)


def work(frames: Frames | None, config: QuantizeConfig, place: Path | None = None, model: Any = None) -> Quantization:
    return Quantization(residual() if model is None else model, "small.onnx", CONTRACT, frames, config, place)


def as_bytes(model: Any) -> bytes:
    found: bytes = model.SerializeToString(deterministic=True)
    return found


@pytest.mark.parametrize("target", ["tensorrt", "openvino", "onnxruntime"])
def test_same_frames_seed_and_model_give_the_same_bytes(frames: Frames, target: Any) -> None:
    config = QuantizeConfig(target)
    assert as_bytes(work(frames, config).run()) == as_bytes(work(frames, config).run())


def test_other_frames_give_another_hash(frames: Frames, tmp_path: Path) -> None:
    other = choose_frames(FrameChoice((write_frames(tmp_path / "other", 8),)), CONTRACT)
    hashes = set()
    for given in (frames, other):
        metadata = {entry.key: entry.value for entry in work(given, QuantizeConfig()).run().metadata_props}
        hashes.add(json.loads(metadata["deblurrt.provenance"])["calibration_sha256"])
    assert len(hashes) == 2


def test_file_says_what_it_was_calibrated_on(frames: Frames, tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(residual(), path)
    file = quantize(open_onnx(path), frames, QuantizeConfig("openvino"))
    assert file.path.name == "small_int8.onnx"
    assert file.provenance["calibration"]["frames"] == list(frames.names)
    assert file.provenance["calibration"]["frames_sha256"] == frames.sha256
    assert file.contract == CONTRACT


def test_quantised_graph_gives_nearly_the_same_picture(frames: Frames) -> None:
    task = work(frames, QuantizeConfig("openvino"))
    task.run()
    quality = task.report().quality
    assert quality is not None
    assert quality.has_truth
    assert len(quality.frames) == len(frames.held_out)
    # a grey level and a half RMS: random weights of width 4 have no room to spare
    assert (quality.mean("mse") or 0) < (1.5 / 255) ** 2


@pytest.mark.parametrize("form", ["w8a16", "fp8"])
def test_other_formats_run(frames: Frames, form: Any) -> None:
    task = work(frames, QuantizeConfig("tensorrt", format=form, ends=True))
    task.run()
    assert task.report().share == 1.0


def test_statistics_are_kept_and_taken_again(frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "statistics.npz"
    first = as_bytes(work(frames, QuantizeConfig(), place).run())
    whole = place.read_bytes()
    monkeypatch.setattr(quantization_module, "calibrate", None)
    assert as_bytes(work(frames, QuantizeConfig(), place).run()) == first
    assert place.read_bytes() == whole


def test_statistics_alone_are_enough_without_frames(frames: Frames, tmp_path: Path) -> None:
    place = tmp_path / "statistics.npz"
    work(frames, QuantizeConfig(), place).run()
    task = work(None, QuantizeConfig(), place)
    task.run()
    assert task.report().key.names == frames.names
    assert task.report().quality is None


def test_interrupted_calibration_goes_on_where_it_was(
    frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, whole = tmp_path / "statistics.npz", tmp_path / "whole.npz"
    work(frames, QuantizeConfig(), whole).run()
    monkeypatch.setattr(calibrator_module, "SAVE_EVERY_S", 0.0)
    seen = 0

    def stop(_what: str, done: int, _total: int) -> None:
        nonlocal seen
        if done == 2:
            raise KeyboardInterrupt
        seen = done

    with pytest.raises(KeyboardInterrupt):
        Quantization(residual(), "small.onnx", CONTRACT, frames, QuantizeConfig(), place, stop).run()
    assert load_statistics(place).frames == 2
    work(frames, QuantizeConfig(), place).run()
    assert place.read_bytes() == whole.read_bytes()


def test_statistics_of_another_network_or_other_frames_are_refused(frames: Frames, tmp_path: Path) -> None:
    place = tmp_path / "statistics.npz"
    work(frames, QuantizeConfig(), place).run()
    with pytest.raises(InputError, match="statistics of another network"):
        work(frames, QuantizeConfig(), place, attentive()).run()
    other = choose_frames(FrameChoice((write_frames(tmp_path / "other", 8),)), CONTRACT)
    with pytest.raises(InputError, match="statistics of other frames"):
        work(other, QuantizeConfig(), place).run()
    place.write_bytes(b"damaged")
    with pytest.raises(InputError, match="holds no statistics"):
        work(frames, QuantizeConfig(), place).run()


def test_frames_are_needed_where_nothing_is_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no frames to calibrate on"):
        work(None, QuantizeConfig()).run()


def test_pattern_that_matches_nothing_is_refused_before_frames_are_read(
    frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(*_given: Any) -> Any:
        raise AssertionError("a frame was read")

    monkeypatch.setattr(FrameList, "__iter__", unread)
    with pytest.raises(UsageError, match="matches no layer"):
        work(frames, QuantizeConfig(only="nowhere")).run()


def test_statistics_without_frames_name_the_seed_they_were_made_with(frames: Frames, tmp_path: Path) -> None:
    place = tmp_path / "statistics.npz"
    work(frames, QuantizeConfig(seed=5, crop_px=64), place).run()
    task = work(None, QuantizeConfig(), place)
    task.run()
    assert (task.report().config.seed, task.report().config.crop_px) == (5, 64)


def test_quantised_file_is_not_quantised_again(frames: Frames) -> None:
    model = work(frames, QuantizeConfig()).run()
    with pytest.raises(UsageError, match="quantised already"):
        work(frames, QuantizeConfig(), model=model)


def test_wide_budget_takes_everything(frames: Frames) -> None:
    task = work(frames, QuantizeConfig("tensorrt", psnr_budget_db=20.0))
    task.run()
    assert task.report().share == 1.0


def test_budget_that_cannot_be_met_is_refused_and_says_what_was(pictures: Frames) -> None:
    with pytest.raises(QualityError, match=r"the budget is 0 dB.* least lost was"):
        work(pictures, QuantizeConfig("tensorrt", psnr_budget_db=0.0)).run()


def test_budget_keeps_the_layers_that_err_most(pictures: Frames) -> None:
    everything = work(pictures, QuantizeConfig("openvino"))
    everything.run()
    lost = everything.report().quality
    assert lost is not None
    budget = lost.lost_db * 0.7
    assert budget > 0
    task = work(pictures, QuantizeConfig("openvino", psnr_budget_db=budget))
    task.run()
    report = task.report()
    assert report.quality is not None
    assert report.quality.lost_db <= budget
    assert 0.5 <= report.share < 1.0
    assert any(trial.is_best for trial in report.trials)


def every_set(task: Quantization) -> list[Trial]:
    """Measure all sets of layers, as a search would each."""
    search = task._search()
    names = [site.name for site in search.sites]
    for size in range(len(names) + 1):
        for chosen in combinations(names, size):
            search.try_set(chosen)
    return list(search.trials.values())


@pytest.mark.parametrize(("network", "part"), [(dense, 0.7), (shuffled, 0.5)])
def test_search_finds_the_cheapest_set_of_a_real_network(pictures: Frames, network: Any, part: float) -> None:
    whole = work(pictures, QuantizeConfig("openvino"), model=network())
    whole.run()
    trials = every_set(whole)
    quality = whole.report().quality
    assert quality is not None
    budget = part * quality.lost_db
    best = max(trial.share for trial in trials if trial.lost_db <= budget)
    assert 0.5 <= best < 1
    task = work(pictures, QuantizeConfig("openvino", psnr_budget_db=budget), model=network())
    task.run()
    report = task.report()
    assert report.quality is not None
    assert report.quality.lost_db <= budget
    assert report.share == best
    assert len(report.trials) < len(trials)


def test_time_that_is_over_takes_the_default_where_it_meets_the_budget(pictures: Frames) -> None:
    losses = {}
    for ends in (False, True):
        task = work(pictures, QuantizeConfig("tensorrt", ends=ends))
        task.run()
        quality = task.report().quality
        assert quality is not None
        losses[ends] = quality.lost_db
    assert losses[False] < losses[True]
    budget = (losses[False] + losses[True]) / 2
    task = work(pictures, QuantizeConfig("tensorrt", psnr_budget_db=budget, time_limit_s=0.0))
    task.run()
    assert task.report().chosen == {"conv1", "conv2", "add"}
    assert task.report().is_cut_short


def test_time_that_is_over_too_early_is_refused(pictures: Frames) -> None:
    config = QuantizeConfig("openvino", psnr_budget_db=1e-6, time_limit_s=0.0)
    with pytest.raises(QualityError, match="the time limit ended the search, give it more"):
        work(pictures, config).run()


def test_search_is_the_same_under_the_same_seed(pictures: Frames) -> None:
    found = []
    for _ in range(2):
        task = work(pictures, QuantizeConfig("openvino", psnr_budget_db=0.02))
        model = task.run()
        found.append((as_bytes(model), task.report().trials, task.report().errors))
    assert found[0] == found[1]
    assert len(found[0][1]) > 3


def test_notes_say_whether_correcting_biases_helps(frames: Frames) -> None:
    task = work(frames, QuantizeConfig("openvino"))
    task.run()
    (note,) = [note for note in task.report().notes if note.startswith("correcting biases")]
    found = re.search(r"squared error (\S+) with it, (\S+) without", note)
    assert found is not None
    is_better = float(found[1]) < float(found[2])
    assert task.report().config.with_bias_correction == is_better
    assert note.startswith(f"correcting biases {'helps' if is_better else 'does not help'}")


def test_allowed_frames_of_a_test_split_are_marked_even_through_statistics(tmp_path: Path) -> None:
    folder, place = write_frames(tmp_path / "val", 6), tmp_path / "statistics.npz"
    frames = choose_frames(FrameChoice((folder,), allow_test_split=True), CONTRACT)
    work(frames, QuantizeConfig(), place).run()
    task = work(None, QuantizeConfig(), place)
    metadata = {entry.key: entry.value for entry in task.run().metadata_props}
    assert json.loads(metadata["deblurrt.provenance"])["calibration"]["test_split"] == "val"
