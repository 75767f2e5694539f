"""From a PyTorch network to an ONNX file that proved itself equal, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import reduce
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.artifacts import OnnxFile, write_onnx
from ..core.causes import cause
from ..core.contract import FrameContract
from ..core.errors import QualityError, UsageError
from ..core.optional import require
from ..core.outputs import check_output
from ..core.tensors import Array
from ..models.network_facts import NetworkFacts, facts_of
from ..plugins.forward_convolutions import forward_convolutions
from ..plugins.onnx_ops import add_bodies
from .bisection import first_divergence
from .deform_calls import basicsr_on_cpu
from .export_config import ExportConfig
from .graph_export import GraphExport
from .graph_runs import onnx_run
from .model_passes import MODEL_PASSES
from .parity import FP32_GATE, Run, Window
from .torch_exporter import float_graph

if TYPE_CHECKING:
    from ..models.network import DeblurNetwork


class OnnxExport(GraphExport):
    """One export, stage by stage; each is compared with the one before.

    Args:
        network: With its weights and contract; left as it is.
        config: Size, precision, io, target.
        windows: Pictures to compare and audit on, as ``parity.read_windows`` gives; made if None.
        on_stage: Told what begins, for a progress display.
    """

    def __init__(
        self,
        network: DeblurNetwork,
        config: ExportConfig,
        windows: Sequence[Window] | None = None,
        on_stage: Callable[[str], None] = lambda _stage: None,
    ) -> None:
        from ..models.network_copies import inference_copy

        facts = facts_of(network)
        super().__init__(facts.contract, config, _provenance(facts), windows, on_stage)
        self.network = inference_copy(network)

    def run(self) -> Any:
        """Go through all stages.

        Returns:
            ``onnx.ModelProto``, with contract, provenance and summary.

        Raises:
            UsageError: The network cannot be traced.
            QualityError: A stage changed the result; the message names the first module that differs.
            MissingExtraError: torch, onnxscript or onnxslim is not installed.
        """
        with basicsr_on_cpu():
            traced = self._traced()
        return self.finish(traced)

    def _traced(self) -> Any:
        reference = _torch_run(self.network, self.contract)
        # before the tracer, whose words for what is wrong here are harder to understand
        reference(min(self._frames, key=lambda frames: frames.size))
        self._on_stage("tracing")
        network = reduce(lambda model, rewrite: rewrite(model), MODEL_PASSES, self.network)
        model = float_graph(network if self.config.fold else self.network, self.contract)
        if self.config.fold:
            # of stride 1 alone: joining the places of others takes memory that only 8 bits make up for
            model = forward_convolutions(model, most_stride=1)
        add_bodies(model)
        try:
            self.compare("pytorch->onnx", reference, onnx_run(model), FP32_GATE)
        except QualityError as error:
            raise QualityError(f"{error}; {_where(network, model, self._frames[0])}") from error
        return model


def _where(network: DeblurNetwork, model: Any, frames: Array) -> str:
    """Name the first module that differs; what stops the search is said and does not hide the verdict."""
    try:
        divergence = first_divergence(network, model, frames)
    except Exception as error:  # of the network's own code, of ONNX Runtime, of the search
        return f"no bisection: {cause(error)}"
    return divergence.describe() if divergence else "no module stands out"


def onnx_from_model(
    network: DeblurNetwork,
    config: ExportConfig,
    path: Path,
    *,
    windows: Sequence[Window] | None = None,
    force: bool = False,
) -> OnnxFile:
    """Export a network, compare every stage with the one before, and write the file when all agree.

    Args:
        network: With its weights and contract; left as it is.
        config: Size, precision, io, target.
        path: Where the file goes.
        windows: Pictures to compare and audit on; made if None.
        force: Whether an existing file is replaced.

    Raises:
        UsageError: The network cannot be traced.
        QualityError: A stage changed the result; the message names the first module that differs.
        OutputError: The file exists or cannot be written.
        MissingExtraError: torch, onnxscript or onnxslim is not installed.
    """
    check_output(path, force=force)
    return write_onnx(OnnxExport(network, config, windows).run(), path, force)


def _torch_run(network: DeblurNetwork, contract: FrameContract) -> Run:
    torch = require("torch", purpose="export a network")
    from ..models.torch_runs import run_network

    def run(frames: Array) -> Array:
        # a copy: the network may write into its input
        restored = run_network(network, torch.from_numpy(frames.copy()), contract)
        if restored.dtype != torch.float32:
            kind = str(restored.dtype).removeprefix("torch.")
            raise UsageError(f"{type(network).__name__} gives {kind}, expected float32; return restored.float()")
        return np.array(restored.numpy())

    return run


def _provenance(facts: NetworkFacts) -> dict[str, Any]:
    is_hash = len(facts.weights) == 64
    told: dict[str, Any] = {"weights_sha256" if is_hash else "weights": facts.weights or "unknown"}
    told |= {"model": facts.name, "deblurrt": version("deblurrt")}
    if facts.seed is not None and not is_hash:
        told["factory_seed"] = facts.seed
    if facts.options:
        told["options"] = facts.options
    if facts.tlsc is not None:
        told["tlsc"] = asdict(facts.tlsc)
    return told
