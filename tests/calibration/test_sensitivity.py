"""What each layer costs alone, and how far off it is in the whole."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from deblurrt.calibration.clips import Window
from deblurrt.calibration.graph_sessions import Restore
from deblurrt.calibration.graph_view import GraphView
from deblurrt.calibration.sensitivity import layer_errors, mean_error, site_errors
from deblurrt.calibration.sites import Site
from deblurrt.core.pictures import Pixels
from tests.calibration.small_networks import CONTRACT, residual

PIECE = np.full((8, 8, 3), 100, np.uint8)
PIECES: list[tuple[Window, Pixels]] = [((PIECE,), PIECE)]


def site(name: str, macs: int, partner: str = "", values: int = 0) -> Site:
    plain = Site(name, "product", "Conv", "", name, macs, is_able=True, is_chosen=True, reason="")
    return replace(plain, kind="skip", partner=partner, values=values) if partner else plain


class Networks:
    """Networks whose quantised layers shift the picture by some grey levels each."""

    def __init__(self, levels: dict[str, int]) -> None:
        self.levels = levels
        self.opened: list[set[str]] = []

    def __call__(self, chosen: Collection[str]) -> Restore:
        self.opened.append(set(chosen))
        shift = sum(self.levels[name] for name in chosen)
        return lambda window: (window[0] + shift).astype(np.uint8)


def squared(levels: float) -> float:
    return (levels / 255) ** 2


def test_mean_error_is_that_of_values_from_0_to_1() -> None:
    pieces: list[tuple[Window, Pixels]] = [((PIECE,), PIECE), ((PIECE,), (PIECE + 3).astype(np.uint8))]
    assert mean_error(lambda window: (window[0] + 1).astype(np.uint8), pieces) == pytest.approx(
        (squared(1) + squared(2)) / 2
    )


def test_each_layer_is_measured_alone_and_a_skip_branch_beside_its_convolution() -> None:
    networks = Networks({"first": 2, "second": 5, "add": 1})
    sites = [site("first", 10), site("second", 20), site("add", 0, "second", 64)]
    found = site_errors(sites, networks, PIECES)
    assert networks.opened == [{"first"}, {"second"}, {"add", "second"}]
    assert found == pytest.approx({"first": squared(2), "second": squared(5), "add": squared(6) - squared(5)})


def test_error_is_never_negative() -> None:
    networks = Networks({"first": 3, "add": -2})
    found = site_errors([site("first", 10), site("add", 0, "first", 64)], networks, PIECES)
    assert found["add"] == 0


def test_layers_there_was_no_time_for_get_the_typical_error_for_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = Networks({"first": 4, "second": 4, "third": 4})
    # one measurement takes a second, the limit is half of one
    clock = SimpleNamespace(perf_counter=lambda: float(len(networks.opened)))
    monkeypatch.setattr("deblurrt.calibration.sensitivity.time", clock)
    sites = [site("first", 10), site("second", 30), site("third", 5)]
    found = site_errors(sites, networks, PIECES, 0.5)
    assert networks.opened == [{"first"}]
    assert found == pytest.approx({"first": squared(4), "second": 3 * squared(4), "third": squared(4) / 2})


def test_without_time_every_layer_is_taken_for_equal() -> None:
    networks = Networks({"first": 4})
    assert site_errors([site("first", 10)], networks, PIECES, time.perf_counter() - 1) == {"first": 0.0}
    assert not networks.opened


def test_signal_over_error_of_layers_is_that_of_their_values() -> None:
    model, other = residual(), residual()
    bias = next(tensor for tensor in other.graph.initializer if tensor.name == "conv2.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.1), bias.name))
    frame = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    sizes = dict.fromkeys(("head", "conv1", "conv2", "tail"), 4 * 16 * 16)
    found = layer_errors(GraphView(model), other, sizes, (frame,), CONTRACT)
    # the same up to the changed layer; behind it a tenth of the values' size
    assert (found["head"], found["conv1"]) == (100, 100)
    assert 0 < found["conv2"] < 30
    assert found["tail"] < 40


def test_layers_are_compared_in_parts_where_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    model = residual()
    frame = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    sizes = dict.fromkeys(("head", "conv1", "conv2", "tail"), 1000)
    whole = layer_errors(GraphView(model), residual(), sizes, (frame,), CONTRACT)
    monkeypatch.setattr("deblurrt.calibration.sensitivity.FETCHED_VALUES", 2500)
    assert layer_errors(GraphView(model), residual(), sizes, (frame,), CONTRACT) == whole
    assert list(whole) == ["head", "conv1", "conv2", "tail"]
