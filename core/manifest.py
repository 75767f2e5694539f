"""What an engine says of itself, in a file beside it: readable without TensorRT, trusted only when hashes agree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .contract import FrameContract
from .errors import ModelFileError
from .outputs import write_whole

MANIFEST_VERSION = 1
#: fields that decide what an engine is; two builds that agree in all of them give the same engine
KEY_FIELDS = (
    "version",
    "backend",
    "tensorrt",
    "cuda",
    "driver",
    "gpu",
    "compute_capability",
    "onnx_sha256",
    "plugins",
    "calibration",
    "shapes",
    "targets",
    "options",
)


@dataclass(frozen=True, slots=True)
class EngineManifest:
    """An engine's identity, origin and measured facts.

    Attributes:
        model: What it was built from, for messages: a file name or the name of a network.
        contract: What it needs of frames.
        onnx_sha256: Of the ONNX file, weights beside it included.
        backend: ``tensorrt`` or ``tensorrt-rtx``.
        tensorrt: Version of the builder.
        cuda: CUDA version of the driver it was built with; empty: none was used.
        driver: Version of the driver; likewise.
        gpu: Name of the GPU it was built on; likewise.
        compute_capability: Of that GPU, ``8.7``; likewise.
        plugins: SHA-256 by name of every plugin library.
        calibration: Hash of the frames and settings behind its INT8 scales; empty: none.
        shapes: Smallest, typical and largest height and width of frames, pixels.
        targets: Compute capabilities it was built for, ``sm86``; empty: the builder's own choice.
        options: Further choices of the build.
        precision: Share of the multiply-accumulates of convolutions per type, as built.
        provenance: Where the weights come from.
        activation_bytes: Memory for values at the largest size; None: the builder did not say.
        weight_bytes: Memory for weights; likewise.
        estimated_bytes: What was estimated for the values before the build.
        build_seconds: How long the builder worked.
        plan_sha256: Of the engine.
        plan_bytes: Its size.
        version: Of this record.
    """

    model: str
    contract: FrameContract
    onnx_sha256: str
    backend: str
    tensorrt: str
    cuda: str = ""
    driver: str = ""
    gpu: str = ""
    compute_capability: str = ""
    plugins: Mapping[str, str] = field(default_factory=dict)
    calibration: str = ""
    shapes: tuple[tuple[int, int], ...] = ()
    targets: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    precision: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    activation_bytes: int | None = None
    weight_bytes: int | None = None
    estimated_bytes: int | None = None
    build_seconds: float | None = None
    plan_sha256: str = ""
    plan_bytes: int = 0
    version: int = MANIFEST_VERSION

    def key(self) -> dict[str, Any]:
        """The fields that decide what an engine is, as plain values."""
        told = self.to_dict()
        return {name: told[name] for name in KEY_FIELDS}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        told = asdict(self)
        told["contract"] = json.loads(self.contract.to_json())
        plain: dict[str, Any] = json.loads(json.dumps(told))
        return plain


def manifest_path(plan: Path) -> Path:
    """Where the manifest of an engine lies: ``X.engine.json`` beside ``X.engine``."""
    return plan.with_name(f"{plan.name}.json")


def write_manifest(manifest: EngineManifest, plan: Path) -> None:
    """Write a manifest beside its engine; last, for without it the engine does not load.

    Raises:
        OutputError: It cannot be written.
    """
    text = json.dumps(manifest.to_dict(), indent=2, sort_keys=True) + "\n"
    write_whole(manifest_path(plan), text.encode())


def read_manifest(plan: Path) -> EngineManifest:
    """Read the manifest of an engine; the engine itself is not looked at.

    Raises:
        ModelFileError: It is missing, no manifest, of a later version, or holds a value of another kind.
    """
    path = manifest_path(plan)
    if not path.is_file():
        raise ModelFileError(f"{plan.name} has no manifest {path.name} beside it; build it again: deblurrt build")
    try:
        told = json.loads(path.read_text())
        return _manifest(told)
    except (OSError, UnicodeDecodeError, TypeError, KeyError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(f"{path.name} is no manifest of an engine ({reason}); build the engine again") from error


def _manifest(told: Any) -> EngineManifest:
    if not isinstance(told, dict):
        raise TypeError(f"it is a {type(told).__name__}, expected an object")
    known = {entry.name: entry for entry in fields(EngineManifest)}
    unknown = sorted(told.keys() - known.keys())
    if told.get("version") != MANIFEST_VERSION or unknown:
        what = f"fields {', '.join(unknown)}" if unknown else f"version {told.get('version')!r}"
        raise ValueError(f"it has {what}, this deblurrt knows version {MANIFEST_VERSION}")
    _check_kinds(told)
    shapes = tuple((int(tall), int(wide)) for tall, wide in told["shapes"])
    contract = FrameContract.from_json(json.dumps(told["contract"]))
    return EngineManifest(**{**told, "contract": contract, "shapes": shapes, "targets": tuple(told["targets"])})


def _check_kinds(told: Mapping[str, Any]) -> None:
    """Refuse values of other kinds than the builder writes."""
    blank = EngineManifest("", FrameContract(), "", "", "").to_dict()
    for name, example in blank.items():
        value = told[name]
        kinds: tuple[type, ...] = (int, float, type(None)) if example is None else (type(example),)
        if not isinstance(value, kinds):
            raise TypeError(f"{name} is {value!r}, expected {' or '.join(kind.__name__ for kind in kinds)}")
