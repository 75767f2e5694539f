"""Model files: what they say of themselves, before anything runs them."""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .contract import FrameContract
from .errors import ContractError, ModelFileError
from .external_data import (
    MOST_INLINE_BYTES,
    moved_weights,
    older_weights,
    place_problem,
    weight_bytes,
    weight_files,
)
from .optional import require
from .outputs import check_output, write_whole
from .tensors import TensorSpec

CONTRACT_KEY = "deblurrt.contract"
PROVENANCE_KEY = "deblurrt.provenance"
SUMMARY_KEY = "deblurrt.summary"

HASH_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """An ONNX file and what its header says; the weights are not kept.

    Attributes:
        path: Where it lies.
        inputs: What it takes.
        outputs: What it gives.
        metadata: Every metadata entry, the contract's included.
        contract: What the network needs of frames, None where the file does not say.
        weight_files: Files of weights beside it, relative to its folder.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: dict[str, str] = field(default_factory=dict)
    contract: FrameContract | None = None
    weight_files: tuple[str, ...] = ()

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the weights come from; empty where the file does not say."""
        return _json_entry(self.metadata, PROVENANCE_KEY)

    @property
    def summary(self) -> dict[str, Any]:
        """Operators, parameters and multiply-accumulates; empty where the file does not say."""
        return _json_entry(self.metadata, SUMMARY_KEY)

    def sha256(self) -> str:
        """Hash the file, and with it the files of weights beside it; reads all of them whole."""
        import hashlib  # 4 ms that reading a header does not need

        digest = hashlib.sha256()
        for path in (self.path, *(self.path.parent / location for location in self.weight_files)):
            with path.open("rb") as file:
                while block := file.read(HASH_BLOCK_BYTES):
                    digest.update(block)
        return digest.hexdigest()


def _json_entry(metadata: dict[str, str], key: str) -> dict[str, Any]:
    try:
        entry = json.loads(metadata.get(key, "{}"))
    except json.JSONDecodeError:
        return {}
    return entry if isinstance(entry, dict) else {}


def open_onnx(path: Path) -> OnnxFile:
    """Read the header of an ONNX file; nothing of it is run.

    Raises:
        ModelFileError: The file is missing, is no ONNX, or its contract holds an impossible value.
    """
    onnx = require("onnx", purpose="read a model file")
    if not path.is_file():
        raise ModelFileError(f"no model at {path}; deblurrt run --help lists the shipped ones")
    try:
        model = onnx.load(str(path), load_external_data=False)
        _check_weight_files(path, weight_files(model))
        # by path: weights beside the file are looked for in its folder, not in the current one
        onnx.checker.check_model(str(path))
    except ModelFileError:
        raise
    except Exception as error:  # protobuf, onnx and the file system each raise their own kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelFileError(f"{path} is not an ONNX model ({reason[:120]}); export it again") from error
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_spec(value) for value in model.graph.input if value.name not in constants)
    outputs = tuple(_spec(value) for value in model.graph.output)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    contract = _contract(path, metadata)
    return OnnxFile(path, inputs, outputs, metadata, contract, weight_files(model))


def _check_weight_files(path: Path, locations: tuple[str, ...]) -> None:
    """Say which file of weights is unfit, which the checker's long paths do not."""
    for location in locations:
        problem = place_problem(path.parent, location)
        if problem is not None:
            raise ModelFileError(f"{path.name}: its file of weights {location!r} {problem}; keep both in one folder")


def _contract(path: Path, metadata: dict[str, str]) -> FrameContract | None:
    if CONTRACT_KEY not in metadata:
        return None
    try:
        return FrameContract.from_json(metadata[CONTRACT_KEY])
    except ContractError as error:
        raise ModelFileError(f"{path.name}: {error}") from error


def _spec(value: Any) -> TensorSpec:
    onnx = require("onnx", purpose="read a model file")
    tensor = value.type.tensor_type
    try:
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (KeyError, TypeError):
        dtype = f"type {tensor.elem_type}"
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or f"axis{index}")
        for index, dim in enumerate(tensor.shape.dim)
    )
    return TensorSpec(value.name, dtype, shape)


def write_onnx(model: Any, path: Path, force: bool = False, *, external_data: bool = False) -> OnnxFile:
    """Write a model beside its place and rename it; weights beside it that only the model before used go.

    Args:
        model: ``onnx.ModelProto``; its weights are moved out of it where they go to a file of their own.
        path: Where the file goes.
        force: Whether an existing file is replaced.
        external_data: Whether large weights go to ``<path>.<hash>.data``; above 2 GB, which no ONNX file may
            have, always.

    Raises:
        OutputError: The file exists and ``force`` is off, the folder is missing, or writing fails.
    """
    check_output(path, force=force)
    is_parted = external_data or weight_bytes(model) > MOST_INLINE_BYTES
    older = older_weights(path)
    with moved_weights(model, path, force) if is_parted else nullcontext():
        write_whole(path, model.SerializeToString(deterministic=True))
    written = open_onnx(path)
    for weights in older:
        if weights.name not in written.weight_files:
            with suppress(OSError):
                weights.unlink()
    return written
