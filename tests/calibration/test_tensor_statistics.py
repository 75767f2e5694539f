"""The file of statistics: the same again, whole or refused, never half written."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from deblurrt.calibration.histograms import Histogram
from deblurrt.calibration.tensor_statistics import (
    Statistics,
    StatisticsKey,
    check_key,
    load_statistics,
    network_sha256,
    save_statistics,
)
from deblurrt.core.errors import InputError, OutputError
from tests.calibration.small_networks import CONTRACT, dense, residual

KEY = StatisticsKey("model", "frames", ("a/1", "a/2"), 0, 512, None)


def statistics(frames: int = 2) -> Statistics:
    histograms = {}
    for index, name in enumerate(("conv", "relu")):
        rng = np.random.default_rng(index)
        histograms[name] = Histogram()
        for _ in range(frames):
            values = rng.normal(0, 1 + index, 500)
            histograms[name].add(values, float(values.min()), float(values.max()))
            histograms[name].add_channels(rng.normal(0, 1, 4), rng.random(4))
    return Statistics(KEY, histograms, frames)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    written = statistics()
    save_statistics(written, tmp_path / "s.npz")
    read = load_statistics(tmp_path / "s.npz")
    assert (read.key, read.frames, read.is_complete) == (KEY, 2, True)
    assert list(read.histograms) == ["conv", "relu"]
    for name, histogram in written.histograms.items():
        other = read.histograms[name]
        assert (other.counts == histogram.counts).all()
        assert (other.channel_sums == histogram.channel_sums).all()
        assert (other.channel_peaks == histogram.channel_peaks).all()
        assert (other.exponent, other.least, other.most, other.frames) == (
            histogram.exponent,
            histogram.least,
            histogram.most,
            histogram.frames,
        )


def test_channels_that_were_divided_are_kept_apart(tmp_path: Path) -> None:
    written = statistics()
    written.factors, written.equalised = (
        {"relu": np.array([0.1, 3.0], np.float32)},
        {"relu": statistics(1).histograms["relu"]},
    )
    save_statistics(written, tmp_path / "s.npz")
    read = load_statistics(tmp_path / "s.npz")
    assert (read.factors or {})["relu"].tolist() == written.factors["relu"].tolist()
    assert (read.histograms["relu"].frames, read.equalised["relu"].frames) == (2, 1)
    assert (read.equalised["relu"].counts == written.equalised["relu"].counts).all()


def test_same_statistics_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_statistics(statistics(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_statistics_of_half_the_frames_are_not_complete(tmp_path: Path) -> None:
    save_statistics(statistics(1), tmp_path / "s.npz")
    assert not load_statistics(tmp_path / "s.npz").is_complete


def test_damaged_file_is_refused_wherever_it_is_damaged(tmp_path: Path) -> None:
    place = tmp_path / "s.npz"
    save_statistics(statistics(), place)
    whole = place.read_bytes()
    refused = 0
    for position in range(0, len(whole), 23):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        place.write_bytes(damaged)
        try:
            # a date or an attribute in the archive may differ, contents may not
            assert load_statistics(place).key == KEY
        except InputError as error:
            assert "holds no statistics of a calibration" in str(error)  # noqa: PT017 - either outcome is right
            refused += 1
    assert refused > len(whole) // 23 // 2


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_cut_off_file_is_refused(tmp_path: Path, part: float) -> None:
    place = tmp_path / "s.npz"
    save_statistics(statistics(), place)
    place.write_bytes(place.read_bytes()[: int(part * place.stat().st_size)])
    with pytest.raises(InputError, match="holds no statistics"):
        load_statistics(place)


@pytest.mark.parametrize("header", ["{}", "[]", '{"version": 2, "tensors": {}}', "no json"])
def test_archive_of_something_else_is_refused(tmp_path: Path, header: str) -> None:
    np.savez(tmp_path / "s.npz", header=np.frombuffer(header.encode(), np.uint8))
    with pytest.raises(InputError, match="holds no statistics"):
        load_statistics(tmp_path / "s.npz")


def test_file_of_another_form_says_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", header=np.frombuffer(b'{"version": 99}', np.uint8))
    with pytest.raises(InputError, match="has form 99, this deblurrt reads 2"):
        load_statistics(tmp_path / "s.npz")


def test_full_disk_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "s.npz"
    save_statistics(statistics(1), place)
    before = place.read_bytes()

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="disk full"):
        save_statistics(statistics(2), place)
    assert place.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_sha256": "x"}, "another network"),
        ({"frames_sha256": "x"}, "other frames"),
        ({"names": ("a/1",)}, "other frames"),
        ({"seed": 1}, "another --seed"),
        ({"crop_px": 256}, "crops of another size"),
    ],
)
def test_statistics_of_something_else_are_refused(change: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=f"holds statistics of {told}"):
        check_key(replace(KEY, **change), KEY, Path("s.npz"))  # type: ignore[arg-type]


def test_hash_of_a_graph_leaves_out_what_it_says_of_itself() -> None:
    plain, told = residual(), residual()
    helper.set_model_props(told, {"note": "x"})
    told.producer_name = told.doc_string = "someone"
    assert network_sha256(plain, CONTRACT) == network_sha256(told, CONTRACT)
    told.graph.initializer[0].raw_data = bytes(len(told.graph.initializer[0].raw_data))
    assert len({network_sha256(model, CONTRACT) for model in (plain, told, dense())}) == 3
    other = replace(CONTRACT, multiple=4)
    assert network_sha256(plain, other) != network_sha256(plain, CONTRACT)
