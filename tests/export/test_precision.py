"""Typed graphs, their emulation, and the audit that decides what stays float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deblurrt.core.optional import require
from deblurrt.core.tensors import Array
from deblurrt.export.emulation import emulate
from deblurrt.export.graph_costs import macs_by_precision
from deblurrt.export.magnitudes import Growth, grown
from deblurrt.export.precision import type_graph
from deblurrt.export.range_audit import audit, refine
from deblurrt.runtime.shipped_models import find_model

onnxruntime = require("onnxruntime", purpose="run a graph")

NOISE = np.random.default_rng(0)
FRAMES = NOISE.random((1, 3, 16, 20), dtype=np.float32)


def graph(nodes: list[Any], weights: dict[str, Array]) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    for place, node in enumerate(nodes):
        node.name = node.name or f"node{place}"
    made = helper.make_graph(
        nodes,
        "tiny",
        [value("frames", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [value("restored", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def conv(name: str, source: str, target: str) -> Any:
    return helper.make_node("Conv", [source, f"{name}.w"], [target], name=name, pads=[1, 1, 1, 1])


def kernel(gain: float = 1.0) -> Array:
    weights: Array = (NOISE.normal(0, 0.2, (3, 3, 3, 3)) * gain).astype(np.float32)
    return weights


def run(model: onnx.ModelProto, frames: Array = FRAMES) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    restored: Array = session.run(None, {"frames": frames})[0]
    return restored


def chain() -> onnx.ModelProto:
    """Two convolutions with a skip, and a softmax between them."""
    nodes = [
        conv("first", "frames", "a"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Softmax", ["b"], ["c"], name="gate", axis=3),
        helper.make_node("Mul", ["b", "c"], ["d"], name="scale"),
        conv("second", "d", "e"),
        helper.make_node("Add", ["e", "frames"], ["restored"], name="skip"),
    ]
    return graph(nodes, {"first.w": kernel(), "second.w": kernel()})


def overflowing() -> onnx.ModelProto:
    """Values of a hundred thousand inside, small ones outside."""
    nodes = [conv("up", "frames", "large"), conv("down", "large", "small"), conv("last", "small", "restored")]
    return graph(nodes, {"up.w": kernel(1e6), "down.w": kernel(1e-6), "last.w": kernel()})


def casts(model: onnx.ModelProto) -> list[tuple[str, str]]:
    return [(node.input[0], node.output[0]) for node in model.graph.node if node.op_type == "Cast"]


def test_typed_graph_keeps_its_inputs_and_outputs_and_stores_weights_low() -> None:
    typed = type_graph(chain(), "fp16", {"gate"})
    onnx.checker.check_model(typed, full_check=True)
    assert {tensor.data_type for tensor in typed.graph.initializer} == {TensorProto.FLOAT16}
    assert typed.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert run(typed).dtype == np.float32


def test_casts_stand_only_between_types_and_once_per_value() -> None:
    typed = type_graph(chain(), "fp16", {"gate"})
    assert casts(typed) == [
        ("frames", "frames.low"),
        ("b", "b.fp32"),
        ("c", "c.low"),
        ("restored.inner", "restored"),
    ]


def test_typed_graph_computes_what_its_emulation_shows() -> None:
    model = chain()
    exact, typed, emulated = run(model), run(type_graph(model, "fp16")), run(emulate(model, "fp16"))
    # half precision has 11 bits; a few roundings of values of about one
    assert 0 < np.abs(emulated - exact).max() < 4e-3
    assert np.abs(typed - emulated).max() < 4e-3


def test_overflow_shows_in_the_emulation() -> None:
    assert not np.isfinite(run(emulate(overflowing(), "fp16"))).all()


def test_audit_keeps_what_would_overflow_and_names_it() -> None:
    model = overflowing()
    found = audit(model, [{"frames": FRAMES}], "fp16")
    assert {entry.node for entry in found.kept} == {"up", "down"}
    assert all("fp16 ends at 6.55e+04" in entry.reason for entry in found.kept)
    exact, kept = run(model), run(emulate(model, "fp16", found.keep_fp32))
    assert np.abs(kept - exact).max() <= 1e-3
    assert found.to_dict()["kept"][0]["node"] == "up"


def test_audit_keeps_softmax_over_rows_and_sums_over_maps() -> None:
    nodes = [
        helper.make_node("Softmax", ["frames"], ["a"], name="gate", axis=3),
        helper.make_node("GlobalAveragePool", ["a"], ["b"], name="pool"),
        helper.make_node("Mul", ["a", "b"], ["restored"], name="scale"),
    ]
    found = audit(graph(nodes, {}), [{"frames": FRAMES}], "fp16")
    assert [entry.node for entry in found.kept] == ["gate", "pool"]


def test_refining_keeps_more_until_the_result_is_close() -> None:
    """Rounding the large difference of two large values is what hurts."""
    nodes = [
        conv("first", "frames", "a"),
        helper.make_node("Add", ["a", "offset"], ["b"], name="raise"),
        helper.make_node("Sub", ["b", "offset"], ["restored"], name="lower"),
    ]
    model = graph(nodes, {"first.w": kernel(), "offset": np.full((1, 1, 1, 1), 2000.0, np.float32)})
    feeds = [{"frames": FRAMES}]
    found = refine(model, feeds, audit(model, feeds, "fp16"))
    exact = run(model)
    assert np.mean((run(emulate(model, "fp16", found.keep_fp32)) - exact) ** 2) < 1e-6
    assert "rounding here costs the result most" in {entry.reason for entry in found.kept}


def test_transposed_convolutions_stay_out_of_bf16() -> None:
    node = helper.make_node("ConvTranspose", ["frames", "w"], ["restored"], name="up", pads=[1, 1, 1, 1])
    model = graph([node], {"w": kernel()})
    assert type_graph(model, "bf16").graph.initializer[0].data_type == TensorProto.FLOAT
    assert type_graph(model, "fp16").graph.initializer[0].data_type == TensorProto.FLOAT16
    found = audit(model, [{"frames": FRAMES}], "bf16")
    assert [entry.reason for entry in found.kept] == ["ConvTranspose is computed in float32"]


def test_bf16_is_coarser_than_fp16() -> None:
    model = chain()
    exact = run(model)
    fine, coarse = (np.abs(run(one) - exact).max() for one in (emulate(model, "fp16"), emulate(model, "bf16")))
    assert fine * 4 < coarse < 4e-2


@pytest.mark.parametrize("name", ["default", "fast"])
def test_shipped_networks_agree_in_half_precision(name: str, tmp_path: Path) -> None:
    """The deployment graph, bytes in and out: at most one level off, on few values."""
    model = onnx.load(find_model(name))
    typed = type_graph(model, "fp16")
    onnx.checker.check_model(typed, full_check=True)
    pixels = NOISE.integers(0, 256, (1, 48, 64, 3), dtype=np.uint8)
    exact, emulated, half = (run(one, pixels).astype(int) for one in (model, emulate(model, "fp16"), typed))
    assert np.mean((emulated - exact) ** 2) < 0.2
    assert np.mean((half - exact) ** 2) < 0.2


def test_costs_are_counted_by_type() -> None:
    model = chain()
    each = 3 * 9 * 3 * 16 * 20
    shapes = {"frames": (1, 3, 16, 20)}
    assert macs_by_precision(model, shapes) == {"fp32": 2 * each}
    assert macs_by_precision(type_graph(model, "fp16", {"second"}), shapes) == {"fp16": each, "fp32": each}


def guarded(guard: float) -> onnx.ModelProto:
    """Colours over their sum, with a guard against black."""
    nodes = [
        helper.make_node("ReduceSum", ["frames", "axes"], ["sum"], name="sum", keepdims=1),
        helper.make_node("Add", ["sum", "guard"], ["safe"], name="guard"),
        helper.make_node("Div", ["frames", "safe"], ["restored"], name="divide"),
    ]
    model = graph(nodes, {"guard": np.array([guard], np.float32)})
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axes"))
    return model


@pytest.mark.parametrize("guard", [1e-8, 3e-6])
def test_guards_too_small_for_half_precision_stay_with_what_divides_by_them(guard: float) -> None:
    model = guarded(guard)
    frames = FRAMES.copy()
    frames[..., :4, :4] = 0
    feeds = [{"frames": frames}]
    found = audit(model, feeds, "fp16")
    reasons = {entry.node: entry.reason for entry in found.kept}
    assert f"the constant {guard:.3g} is below" in reasons["guard"]
    assert f"divides by values down to {guard:.3g}" in reasons["divide"]
    exact, emulated = run(model, frames), run(emulate(model, "fp16", found.keep_fp32), frames)
    # the result itself is rounded to half precision where it leaves the division
    assert np.abs(emulated - exact).max() < 1e-3


def test_guard_below_half_precision_divides_zero_by_zero_without_the_audit() -> None:
    frames = FRAMES.copy()
    frames[..., :4, :4] = 0
    assert np.isnan(run(emulate(guarded(1e-8), "fp16", ["sum"]), frames)).any()


def mean_of_products() -> onnx.ModelProto:
    """The mean of a map as a sum over it by its number of pixels, which both grow with the frame."""
    nodes = [
        helper.make_node("Shape", ["frames"], ["sides"], name="sides", start=2, end=4),
        helper.make_node("ReduceProd", ["sides"], ["count"], name="count", keepdims=0),
        helper.make_node("Cast", ["count"], ["pixels"], name="pixels", to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["frames", "axes"], ["sum"], name="sum", keepdims=1),
        helper.make_node("Div", ["sum", "pixels"], ["mean"], name="mean"),
        helper.make_node("Mul", ["frames", "mean"], ["restored"], name="scale"),
    ]
    model = graph(nodes, {})
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    return model


def test_values_that_grow_with_the_frame_are_judged_at_its_size() -> None:
    model = mean_of_products()
    small, large = NOISE.random((1, 3, 48, 64), dtype=np.float32), NOISE.random((1, 3, 96, 128), dtype=np.float32)
    growth = Growth({"frames": small}, {"frames": large}, (720, 1280))
    assert set(grown(model, growth)) == {"pixels", "sum"}
    # a mean of numbers from 0 to 1, times the pixels of the target
    assert grown(model, growth)["sum"] == pytest.approx(0.5 * 720 * 1280, rel=0.05)
    assert grown(model, growth)["pixels"] == pytest.approx(720 * 1280, rel=1e-6)
    reasons = {entry.node: entry.reason for entry in audit(model, [{"frames": small}], "fp16", growth).kept}
    assert reasons["mean"].startswith("values grow with the frame and reach 9.22e+05, fp16 ends at")
    assert "scale" not in reasons
    unwarned = audit(model, [{"frames": small}], "fp16").keep_fp32
    whole = NOISE.random((1, 3, 360, 640), dtype=np.float32)
    assert not np.isfinite(run(emulate(model, "fp16", unwarned), whole)).all()
    kept = audit(model, [{"frames": small}], "fp16", growth).keep_fp32
    assert np.abs(run(emulate(model, "fp16", kept), whole) - run(model, whole)).max() < 1e-3


def test_values_that_differ_by_the_picture_alone_do_not_grow() -> None:
    dark, bright = NOISE.random((1, 3, 16, 20), dtype=np.float32) / 100, NOISE.random((1, 3, 32, 40), dtype=np.float32)
    assert grown(chain(), Growth({"frames": dark}, {"frames": bright}, (720, 1280))) == {}


def test_refining_counts_decibels_on_the_scale_of_the_network() -> None:
    """The same rounding of values up to 255 is as far away as of values up to 1."""
    weights = np.full((3, 3, 3, 3), 1 / 27, np.float32)
    model = graph([conv("only", "frames", "restored")], {"only.w": weights})
    feeds = [{"frames": FRAMES * 255}]
    found = audit(model, feeds, "fp16")
    assert refine(model, feeds, found, peak=255.0) == found
    assert refine(model, feeds, found, peak=1.0) != found
