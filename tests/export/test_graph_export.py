"""The stages behind a float graph: which are compared, what they catch, what they say."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deblurrt.core.artifacts import write_onnx
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import QualityError, UsageError
from deblurrt.core.optional import require
from deblurrt.export import graph_export
from deblurrt.export.deployment import deployment_graph
from deblurrt.export.emulation import emulate
from deblurrt.export.export_config import ExportConfig
from deblurrt.export.graph_export import CHECK_MOST, GraphExport
from deblurrt.export.onnx_report import report_onnx
from deblurrt.export.parity import Window, sample_windows
from deblurrt.plugins.onnx_ops import strip_bodies
from tests.export.float_networks import (
    PROVENANCE,
    contract_of,
    interface,
    network,
    random_bytes,
    run,
    small_windows,
)

onnxruntime = require("onnxruntime", purpose="run a graph")

FOLDED = contract_of(multiple=8)
#: a million times the values of ``network`` inside: half precision ends at 65504
OVERFLOWING = 1e6


def work_of(
    contract: FrameContract = FOLDED,
    windows: list[Window] | None = None,
    on_stage: Callable[[str], None] = lambda _stage: None,
    **config: Any,
) -> GraphExport:
    """An export that has not begun."""
    return GraphExport(contract, ExportConfig(**config), PROVENANCE, windows or small_windows(contract), on_stage)


def stages_of(work: GraphExport) -> list[str]:
    return [stage.name for stage in work.report().stages]


@pytest.mark.parametrize(
    ("config", "stages"),
    [
        ({}, ["typed->lowered", "lowered->deployed"]),
        ({"io": "float"}, ["typed->lowered"]),
        ({"target": "openvino"}, ["typed->lowered", "lowered->deployed"]),
        ({"precision": "fp16"}, ["fp32->typed", "typed->lowered", "lowered->deployed"]),
        ({"precision": "bf16"}, ["fp32->typed"]),
        ({"size": (16, 24)}, ["typed->fixed", "lowered->deployed"]),
        ({"size": (16, 24), "io": "float"}, ["typed->fixed"]),
        ({"size": (16, 24), "precision": "fp16"}, ["fp32->typed", "typed->fixed", "lowered->deployed"]),
        ({"size": (16, 24), "precision": "bf16"}, ["fp32->typed"]),
    ],
    ids=str,
)
def test_every_choice_has_its_stages(config: dict[str, Any], stages: list[str]) -> None:
    work = work_of(**config)
    # in operator set 20 ONNX types convolutions up to fp16 only
    onnx.checker.check_model(work.finish(network(FOLDED)), full_check=config.get("precision") != "bf16")
    assert stages_of(work) == stages
    assert work.report().to_dict()["passed"] is True
    assert (work.report().audit is not None) == ("precision" in config)


def test_each_comparison_is_told_before_it_begins() -> None:
    told: list[str] = []
    work_of(on_stage=told.append, precision="fp16").finish(network(FOLDED))
    assert told == [
        "auditing ranges",
        "comparing fp32->typed",
        "cleaning up",
        "comparing typed->lowered",
        "comparing lowered->deployed",
    ]


@pytest.mark.parametrize(
    ("size", "filled"), [((21, 30), (24, 32)), ((16, 25), (16, 32)), ((24, 32), None)], ids=["both", "one", "none"]
)
def test_sizes_that_are_filled_up_are_noted(size: tuple[int, int], filled: tuple[int, int] | None) -> None:
    work = work_of(size=size)
    work.finish(network(FOLDED))
    note = f"frames of {size[0]}x{size[1]} are filled up to "
    told = [text.removeprefix(note) for text in work.report().notes if text.startswith(note)]
    expected = f"{filled[0]}x{filled[1]}: the network takes multiples of 8 from 8" if filled else None
    assert told == ([expected] if expected else [])


def test_file_of_fixed_size_says_where_it_was_compared() -> None:
    work = work_of(size=(40, 48))
    work.finish(network(FOLDED))
    # 16x24 and 19x13 are given, and 24x16 is what the second is filled up to
    assert work.report().notes == ("fixed sizes were compared at 16x24, not at the file's",)


@pytest.mark.parametrize("size", [(21, 30), (24, 32), (8, 9)], ids=str)
def test_file_of_fixed_size_gives_what_the_file_of_any_size_gives(size: tuple[int, int]) -> None:
    fixed, free = (work_of(size=wanted).finish(network(FOLDED)) for wanted in (size, None))
    assert interface(fixed)[0][2] == [1, *size, 3]
    frames = random_bytes(FOLDED, size)
    # local pools of fixed size are plain average pools, whose sums have another order: one level at a tie
    assert np.abs(run(fixed, frames).astype(int) - run(free, frames)).max() <= 1


def test_size_below_what_can_be_filled_up_is_refused() -> None:
    """Reflecting 3 rows cannot give 8, and a session would bring 8 to a file that takes 3."""
    with pytest.raises(UsageError, match=r"the size is 3x30, the network takes frames from 8x8; give 8x30, smaller"):
        work_of(size=(3, 30))
    assert interface(work_of(size=(3, 30), io="float").finish(network(FOLDED)))[0][2] == [1, 3, 8, 32]


def doubled_weight(model: onnx.ModelProto) -> onnx.ModelProto:
    """A pass that is wrong."""
    for tensor in model.graph.initializer:
        if tensor.name == "tail.weight":
            tensor.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(tensor), tensor.name))
    return model


@pytest.mark.parametrize(
    ("passes", "size", "stage"),
    [("STATIC_PASSES", (40, 48), "typed->fixed"), ("DYNAMIC_PASSES", None, "typed->lowered")],
    ids=["static", "dynamic"],
)
def test_pass_that_changes_a_weight_is_caught(
    monkeypatch: pytest.MonkeyPatch, passes: str, size: tuple[int, int] | None, stage: str
) -> None:
    monkeypatch.setattr(graph_export, passes, (*getattr(graph_export, passes), doubled_weight))
    work = work_of(size=size)
    with pytest.raises(QualityError, match=f"{stage} changes the result at 16x24: the largest difference is"):
        work.finish(network(FOLDED))
    assert work.report().to_dict()["passed"] is False


@pytest.mark.parametrize("size", [None, (40, 48)], ids=["any size", "fixed"])
def test_body_that_computes_something_else_is_caught(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int] | None
) -> None:
    def without_pools(model: onnx.ModelProto, _lowering: str) -> Any:
        for node in model.graph.node:
            if node.op_type in ("LocalAvgPool", "AveragePool"):
                node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output, name=node.name))
        return strip_bodies(model)

    def without_split(model: onnx.ModelProto) -> onnx.ModelProto:
        return model

    monkeypatch.setattr(graph_export, "STATIC_PASSES", (without_split,))
    monkeypatch.setattr(graph_export, "add_bodies", without_pools)
    with pytest.raises(QualityError, match="changes the result at 16x24"):
        work_of(size=size).finish(network(FOLDED))


@pytest.mark.parametrize("size", [None, (40, 48)], ids=["any size", "fixed"])
def test_broken_deployment_is_caught(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int] | None) -> None:
    def darker(model: onnx.ModelProto, contract: FrameContract) -> onnx.ModelProto:
        made: onnx.ModelProto = deployment_graph(model, contract)
        (peak,) = (tensor for tensor in made.graph.initializer if tensor.name == "picture.peak")
        peak.CopyFrom(numpy_helper.from_array(np.array(250, np.float32), "picture.peak"))
        return made

    monkeypatch.setattr(graph_export, "deployment_graph", darker)
    work = work_of(size=size)
    with pytest.raises(QualityError, match="lowered->deployed changes the result at 16x24: the largest difference is"):
        work.finish(network(FOLDED))
    assert stages_of(work)[-1] == "lowered->deployed"


def test_picture_that_is_not_rounded_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """One level off passes where it is rare, as it is for values near x.5; here it is half of them."""

    def floor(model: onnx.ModelProto, contract: FrameContract) -> onnx.ModelProto:
        made: onnx.ModelProto = deployment_graph(model, contract)
        (rounding,) = (node for node in made.graph.node if node.op_type == "Round")
        rounding.op_type = "Floor"
        return made

    monkeypatch.setattr(graph_export, "deployment_graph", floor)
    with pytest.raises(QualityError, match="lowered->deployed changes the result"):
        work_of().finish(network(FOLDED))


@pytest.mark.parametrize("config", [{}, {"size": (16, 24)}, {"io": "float"}], ids=str)
def test_what_is_no_number_never_passes(config: dict[str, Any]) -> None:
    """Not even where every form of the graph gives it at the same place."""
    model = network(FOLDED)
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "tail.bias")
    values = numpy_helper.to_array(bias).copy()
    values[0] = np.nan
    bias.CopyFrom(numpy_helper.from_array(values, "tail.bias"))
    with pytest.raises(QualityError, match="values are not finite, wanted none"):
        work_of(**config).finish(model)


def test_bf16_graph_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of that type reaches ONNX Runtime, which has no such kernels on the CPU; its emulation does."""
    seen: list[set[int]] = []
    real = onnxruntime.InferenceSession

    def watched(content: bytes, *arguments: Any, **options: Any) -> Any:
        model = onnx.load_from_string(content)
        seen.append({tensor.data_type for tensor in model.graph.initializer})
        return real(content, *arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watched)
    work = work_of(precision="bf16")
    made = work.finish(network(FOLDED))
    assert TensorProto.BFLOAT16 in {tensor.data_type for tensor in made.graph.initializer}
    assert seen
    assert all(TensorProto.BFLOAT16 not in kinds for kinds in seen)
    assert work.report().notes == (
        "ONNX Runtime has no bf16 on the CPU: the typed file was compared by emulation only",
    )


def test_network_that_overflows_is_exported_in_half_precision_and_the_report_names_why() -> None:
    """The audit's own arithmetic is tested with it; here the written file and its report are."""
    contract = contract_of()
    model = network(contract, gain=OVERFLOWING)
    # 256ths are exact in half precision, so that nothing is lost before the network
    frames = sample_windows(1, [(16, 24)])[0][0].transpose(2, 0, 1)[None].astype(np.float32) / 256
    assert not np.isfinite(run(emulate(model, "fp16"), frames)).all()
    exact = run(model, frames)
    work = work_of(contract, precision="fp16", io="float")
    # half precision has 11 bits, and only the picture itself is rounded: 2.5e-4 for values below one
    assert np.abs(run(work.finish(model), frames) - exact).max() <= 2.5e-4
    kept = {entry["node"]: entry["reason"] for entry in work.report().to_dict()["precision"]["kept"]}
    assert list(kept) == ["head", "mean", "detail", "edges", "tail"]
    assert all("fp16 ends at 6.55e+04" in reason for reason in kept.values())


def test_larger_pictures_are_audited_and_compared_in_their_middle() -> None:
    """A picture that overflows must not be left out because it is large."""
    contract, size = contract_of(), (CHECK_MOST[0] + 6, CHECK_MOST[1] + 10)
    picture = np.zeros((*size, 3), np.uint8)
    picture[size[0] // 2, size[1] // 2] = 255
    work = work_of(contract, [(picture,)], precision="fp16", io="float")
    work.finish(network(contract, gain=OVERFLOWING))
    assert [parity.size for stage in work.report().stages for parity in stage.results] == [CHECK_MOST] * 2
    assert "head" in {entry.node for entry in (work.report().audit or pytest.fail("no audit")).kept}
    assert work.report().notes == ("larger pictures were compared in their middle, 184x320",)


def test_graph_that_cannot_be_cleaned_up_is_written_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_model: onnx.ModelProto) -> onnx.ModelProto:
        raise ValueError("no such thing\nand more")

    monkeypatch.setattr(require("onnxslim", purpose="clean up"), "slim", broken)
    made = work_of(io="float").finish(network(FOLDED))
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in network(FOLDED).graph.node]
    assert "onnxslim left the graph as it was (no such thing)" in caplog.text


def test_summary_counts_the_network_at_the_files_size() -> None:
    contract = dataclasses.replace(FOLDED, multiple=1, min_size=1)
    small, large = (work_of(contract, size=size, io="float") for size in ((16, 24), (32, 24)))
    macs = []
    for work in (small, large):
        made = work.finish(network(contract))
        summary = next(entry.value for entry in made.metadata_props if entry.key == "deblurrt.summary")
        macs.append(json.loads(summary)["macs"]["fp32"])
    assert macs[1] == 2 * macs[0] == 2 * 16 * 24 * (3 * 8 + 8 * 9 * 3)


@pytest.mark.parametrize("config", [{}, {"io": "float"}, {"size": (16, 24)}, {"target": "openvino"}], ids=str)
def test_summary_counts_the_nodes_of_the_file(tmp_path: Path, config: dict[str, Any]) -> None:
    file = write_onnx(work_of(**config).finish(network(FOLDED)), tmp_path / "a.onnx")
    assert file.summary["operators"] == report_onnx(file.path).operators
