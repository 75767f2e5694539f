"""Half precision for what a quantised graph leaves in float: the audit of an export, around its 8-bit layers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..core.contract import FrameContract
from ..runtime.session import prepare
from .deployment import WRAPPING
from .emulation import emulate
from .graph_export import CHECK_MOST, GROWTH_SIZES, LARGEST_RESULT
from .graph_runs import onnx_run
from .magnitudes import Growth
from .onnx_conversion import bare_network
from .parity import BYTE_PEAK, UNIT_PEAK, StageParity, Window, compare_stage, judge, middle_of, sample_frames
from .precision import type_graph
from .range_audit import GATES, RangeAudit, audit, refine


@dataclass(frozen=True, slots=True, eq=False)
class TypedRest:
    """A quantised graph whose float layers compute in half precision.

    Attributes:
        model: ``onnx.ModelProto``.
        audit: Which nodes stay ``float32`` and why.
        parity: How far half precision alone moves the float network.
    """

    model: Any
    audit: RangeAudit
    parity: StageParity


def type_rest(quantized: Any, floats: Any, name: str, contract: FrameContract, windows: Sequence[Window]) -> TypedRest:
    """Audit a float network and give its quantised form the types that hold.

    Args:
        quantized: ``onnx.ModelProto``; its nodes have the names they had in float. Its scales have to be exact in
            half precision.
        floats: The float graph it was made of.
        name: Of the file, for messages.
        contract: Of both.
        windows: Pictures to audit on.

    Raises:
        UsageError: The file takes bytes and was not written by ``deblurrt export``.
        QualityError: Half precision alone changes the result too much.
    """
    bare = bare_network(copy.deepcopy(floats), name, contract)
    inner = replace(contract, io="float")
    frames = [prepare(list(middle_of(window, CHECK_MOST)), inner) for window in windows]
    feeds = [{"frames": array} for array in frames]
    peak = BYTE_PEAK if contract.range == "0..255" else UNIT_PEAK
    is_free = all(dim.dim_param for dim in bare.graph.input[0].type.tensor_type.shape.dim[2:])
    growth = _growth(inner) if is_free else None
    found = refine(bare, feeds, audit(bare, feeds, "fp16", growth), peak)
    low = emulate(bare, "fp16", found.keep_fp32)
    parity = compare_stage("fp32->fp16", onnx_run(bare), onnx_run(low), frames, GATES["fp16"], peak)
    judge(parity)
    around = {node.name for node in quantized.graph.node if node.name.startswith(WRAPPING)}
    keep = _with_scales(quantized, found.keep_fp32 | around)
    return TypedRest(type_graph(quantized, "fp16", keep), found, parity)


def _growth(contract: FrameContract) -> Growth:
    small, large = ({"frames": frames} for frames in sample_frames(contract, GROWTH_SIZES))
    height, width = (side // contract.scale for side in LARGEST_RESULT)
    return Growth(small, large, (height, width))


def _with_scales(model: Any, keep: frozenset[str] | set[str]) -> set[str]:
    """Keep what dequantises for a kept layer too, so that nothing stands between them."""
    makers = {output: node for node in model.graph.node for output in node.output}
    kept = set(keep)
    for node in model.graph.node:
        if node.name in keep:
            before = (makers.get(name) for name in node.input)
            kept.update(maker.name for maker in before if maker is not None and maker.op_type == "DequantizeLinear")
    return kept
