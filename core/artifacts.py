"""Model files: what they say of themselves, before anything runs them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
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
    weight_bytes,
    weight_files,
    weight_problems,
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
        return json_entry(self.metadata, PROVENANCE_KEY)

    @property
    def summary(self) -> dict[str, Any]:
        """Operators, parameters and multiply-accumulates; empty where the file does not say."""
        return json_entry(self.metadata, SUMMARY_KEY)

    def sha256(self) -> str:
        """Hash the file, and with it the files of weights beside it; reads all of them whole."""
        return sha256_of([self.path, *(self.path.parent / location for location in self.weight_files)])


def sha256_of(paths: Iterable[Path]) -> str:
    """Hash files, one after the other, as if they were one; reads them whole."""
    import hashlib  # 4 ms that reading a header does not need

    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(HASH_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def metadata_of(model: Any) -> dict[str, str]:
    """Metadata entries of ``onnx.ModelProto``."""
    return {entry.key: entry.value for entry in model.metadata_props}


def json_entry(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    """Read an object of JSON from metadata; empty where there is none, or something else."""
    try:
        entry = json.loads(metadata.get(key, "{}"))
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or thousands of brackets
        return {}
    return entry if isinstance(entry, dict) else {}


def contract_entry(metadata: Mapping[str, str], name: str) -> FrameContract | None:
    """Read the contract from the metadata of the model ``name``; None where there is none.

    Raises:
        ModelFileError: It holds an impossible value.
    """
    if CONTRACT_KEY not in metadata:
        return None
    try:
        return FrameContract.from_json(metadata[CONTRACT_KEY])
    except ContractError as error:
        raise ModelFileError(f"{name}: {error}") from error


def open_onnx(path: Path) -> OnnxFile:
    """Read the header of an ONNX file; nothing of it is run.

    Raises:
        ModelFileError: The file is missing, is no ONNX, or its contract holds an impossible value.
    """
    model = read_header(path)
    _check_weight_files(path, model)
    check_model(path)
    return file_of(model, path)


def read_header(path: Path) -> Any:
    """Read a model file without the weights beside it.

    Returns:
        ``onnx.ModelProto``.

    Raises:
        ModelFileError: The file is missing or is no ONNX.
    """
    onnx = require("onnx", purpose="read a model file")
    if not path.is_file():
        raise ModelFileError(f"no model file at {path}; check the path (deblurrt run --help lists the shipped models)")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf and the file system each raise their own kinds
        raise _unfit(path, error) from error
    if not model.HasField("graph"):
        raise ModelFileError(f"{path} is not an ONNX model (it holds no graph); export it again")
    return model


def load_whole(file: OnnxFile) -> Any:
    """Read a model with its weights, those beside it included.

    Returns:
        ``onnx.ModelProto``.

    Raises:
        ModelFileError: Weights beside the file are missing or damaged.
    """
    onnx = require("onnx", purpose="read a model file")
    try:
        model = onnx.load(str(file.path))
    except Exception as error:  # onnx, protobuf, NumPy and the file system each raise their own kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelFileError(
            f"{file.path.name} cannot be read whole ({reason}); is its .data file beside it?"
        ) from error
    for tensor in model.graph.initializer:
        # onnx writes out that they are inside now, which is the default
        tensor.ClearField("data_location")
    return model


def check_model(path: Path) -> None:
    """Let ONNX check a file and the weights beside it.

    Raises:
        ModelFileError: It is unfit.
    """
    onnx = require("onnx", purpose="read a model file")
    try:
        # by path: weights beside the file are looked for in its folder, not in the current one
        onnx.checker.check_model(str(path))
    except Exception as error:  # the checker and protobuf each raise their own kinds
        raise _unfit(path, error) from error


def file_of(model: Any, path: Path) -> OnnxFile:
    """Say what the header of a file says.

    Args:
        model: ``onnx.ModelProto``, as ``read_header`` gives.
        path: Where it lies.

    Raises:
        ModelFileError: Its contract holds an impossible value.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_spec(value) for value in model.graph.input if value.name not in constants)
    outputs = tuple(_spec(value) for value in model.graph.output)
    metadata = metadata_of(model)
    return OnnxFile(path, inputs, outputs, metadata, contract_entry(metadata, path.name), weight_files(model))


def _unfit(path: Path, error: Exception) -> ModelFileError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ModelFileError(f"{path} is not an ONNX model ({reason[:120]}); export it again")


def _check_weight_files(path: Path, model: Any) -> None:
    """Say which file of weights is unfit, which the checker's long paths do not."""
    for location, problem in weight_problems(path.parent, model.graph.initializer):
        raise ModelFileError(f"{path.name}: its file of weights {location!r:.80} {problem}; keep both in one folder")


def _spec(value: Any) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = (
        dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or f"axis{axis}")
        for axis, dim in enumerate(tensor.shape.dim)
    )
    return TensorSpec(value.name, type_name(tensor.elem_type), tuple(shape))


def type_name(kind: int) -> str:
    """NumPy's name of an ONNX type; ONNX's own where NumPy has none."""
    types = require("onnx", purpose="read a model file").TensorProto.DataType
    try:
        name: str = types.Name(kind).lower()
    except ValueError:  # no type of this version of ONNX
        return f"type {kind}"
    return {"float": "float32", "double": "float64"}.get(name, name)


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
