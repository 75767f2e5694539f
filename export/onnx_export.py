"""From a PyTorch network to an ONNX file that proved itself equal, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.artifacts import OnnxFile, write_onnx
from ..core.errors import QualityError
from ..core.optional import require
from ..core.outputs import check_output
from ..core.tensors import Array
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
        super().__init__(network.contract, config, _provenance(network), windows, on_stage)
        self.network = network.eval()

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
        self._on_stage("tracing")
        network = reduce(lambda model, rewrite: rewrite(model), MODEL_PASSES, self.network)
        model = float_graph(network if self.config.fold else self.network, self.contract)
        add_bodies(model)
        try:
            self.compare("pytorch->onnx", _torch_run(self.network), onnx_run(model), FP32_GATE)
        except QualityError as error:
            divergence = first_divergence(network, model, self._frames[0])
            raise QualityError(f"{error}; {divergence.describe() if divergence else 'no module stands out'}") from error
        return model


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


def _torch_run(network: DeblurNetwork) -> Run:
    torch = require("torch", purpose="export a network")

    def run(frames: Array) -> Array:
        with torch.inference_mode():
            restored: Array = network(torch.from_numpy(frames)).numpy()
        return restored

    return run


def _provenance(network: DeblurNetwork) -> dict[str, Any]:
    is_hash = len(network.weights) == 64
    told: dict[str, Any] = {"weights_sha256" if is_hash else "weights": network.weights or "unknown"}
    told |= {"model": network.architecture or type(network).__name__, "deblurrt": version("deblurrt")}
    if getattr(network, "options", None):
        told["options"] = network.options
    tlsc = getattr(network, "tlsc", None)
    if tlsc is not None:
        told["tlsc"] = {"train_size": tlsc.train_size, "base_size": tlsc.base_size, "fast": tlsc.fast}
    return told
