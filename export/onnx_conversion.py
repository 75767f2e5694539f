"""From a float graph in a file to another file of the same network: other types, size, target or ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..core.artifacts import PROVENANCE_KEY, contract_entry, json_entry, metadata_of
from ..core.contract import FrameContract
from ..core.errors import ModelFileError, QualityError, UsageError
from ..core.optional import require
from ..plugins.onnx_ops import add_bodies
from .deployment import INNER_INPUT, bare_graph
from .export_config import ExportConfig, Precision
from .graph_export import CHECK_MOST, GraphExport
from .graph_runs import onnx_run
from .parity import Window, sample_windows

Size = tuple[int, int]


class OnnxConversion(GraphExport):
    """One conversion; every stage is compared with the file's own graph.

    Args:
        model: ``onnx.ModelProto`` with a contract, as ``deblurrt export`` writes; used up.
        name: Of the model, for messages.
        config: Size, precision, io, target; what the file has decided already must be asked for as it is.
        windows: Pictures to compare and audit on, as ``parity.read_windows`` gives; made if None.
        on_stage: Told what begins, for a progress display.

    Raises:
        ModelFileError: The file has no contract, or its graph is not one of the exporter.
        UsageError: The file is fixed to another size or typed otherwise already.
    """

    def __init__(
        self,
        model: Any,
        name: str,
        config: ExportConfig,
        windows: Sequence[Window] | None = None,
        on_stage: Callable[[str], None] = lambda _stage: None,
    ) -> None:
        contract = contract_in(model, name)
        self._typed_as = precision_of(model)
        if self._typed_as not in ("fp32", config.precision):
            raise UsageError(
                f"{name} computes in {self._typed_as} already, --precision {config.precision} needs the fp32 file"
            )
        size = _fixed_size(model, contract)
        if size is not None:
            _check_fixed(name, size, config, windows or ())
            windows = windows or sample_windows(contract.window, [size])
        self._name, self._model = name, add_bodies(bare_network(model, name, contract))
        bare_contract = replace(contract, io="float")
        provenance = json_entry(metadata_of(model), PROVENANCE_KEY)
        super().__init__(bare_contract, config, provenance, windows, on_stage, size or CHECK_MOST)

    def run(self) -> Any:
        """Go through all stages.

        Returns:
            ``onnx.ModelProto``, with contract, provenance and summary.

        Raises:
            ModelFileError: The graph cannot be run as its contract says.
            QualityError: A stage changed the result.
            MissingExtraError: onnxslim is not installed.
        """
        if self._can_run:
            try:
                onnx_run(self._model)(min(self._frames, key=lambda frames: frames.size))
            except QualityError as error:
                raise ModelFileError(f"{self._name} cannot be run: {error}") from error
        return self.finish(self._model, is_typed=self._typed_as != "fp32")


def precision_of(model: Any) -> Precision:
    """The types a graph computes in: low as soon as one value is cast to it."""
    types = require("onnx", purpose="read a model file").TensorProto
    casts = {attribute.i for node in model.graph.node if node.op_type == "Cast" for attribute in node.attribute} | {
        tensor.data_type for tensor in model.graph.initializer
    }
    if types.FLOAT16 in casts:
        return "fp16"
    return "bf16" if types.BFLOAT16 in casts else "fp32"


def contract_in(model: Any, name: str) -> FrameContract:
    """Read the contract of ``onnx.ModelProto``.

    Raises:
        ModelFileError: It has none, or one with an impossible value.
    """
    contract = contract_entry(metadata_of(model), name)
    if contract is None:
        raise ModelFileError(
            f"{name} does not say what it needs of frames (no contract in its metadata); export it with deblurrt"
        )
    return contract


def _fixed_size(model: Any, contract: FrameContract) -> Size | None:
    """Height and width of the frames a file is fixed to; None where they are free."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    sides = dims[-3:-1] if contract.io == "uint8" else dims[-2:]
    if not all(dim.HasField("dim_value") for dim in sides):
        return None
    tall, wide = (int(dim.dim_value) for dim in sides)
    return tall, wide


def _check_fixed(name: str, size: Size, config: ExportConfig, windows: Sequence[Window]) -> None:
    told = f"{name} is fixed to {size[0]}x{size[1]}"
    if size != config.size:
        wanted = "any size" if config.size is None else "x".join(map(str, config.size))
        raise UsageError(f"{told}, asked for {wanted}; export the network again")
    for tall, wide, _ in (window[0].shape for window in windows):
        if tall < size[0] or wide < size[1]:
            raise UsageError(f"{told}, a picture to compare on has {tall}x{wide}; give larger ones")


def bare_network(model: Any, name: str, contract: FrameContract) -> Any:
    """The network itself, without what brings bytes in and out; uses the model up.

    Raises:
        UsageError: The file takes bytes and was not written by ``deblurrt export``.
    """
    if contract.io == "float":
        return model
    if all(INNER_INPUT not in node.output for node in model.graph.node):
        raise UsageError(
            f"{name} was not written by deblurrt export; give the network itself, or for one that deblurrt train "
            "made its .safetensors file"
        )
    return bare_graph(model, contract)
