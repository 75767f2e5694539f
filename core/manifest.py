"""What an engine says of itself, in a file beside it: readable without TensorRT, trusted only when hashes agree."""

from __future__ import annotations

import hashlib
import json
import math
import re
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
    "batch_max",
    "targets",
    "options",
)
#: what a manifest on disk holds beside its fields: their hash, which tells a hand that edited them
OWN_HASH = "manifest_sha256"
BACKENDS = ("tensorrt", "tensorrt-rtx")
TARGET = re.compile(r"sm\d{2,3}")
COMPUTE_CAPABILITY = re.compile(r"(\d+\.\d)?")
SHA256 = re.compile(r"([0-9a-f]{64})?")
#: control characters and halves of characters, which spoil a terminal or cannot be printed
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
#: what people are shown as it is
TEXTS = ("model", "tensorrt", "cuda", "driver", "gpu", "calibration", "command")
#: smallest, typical and largest, each a height and a width
SIZES, SIDES = 3, 2


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
        batch_max: Most frames it takes at once, and is made fast for; it takes any number from one on.
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
        command: That built it, without the place of the engine; empty: it was built from Python.
        version: Of this record.

    Raises:
        ModelFileError: A name or a version has control characters, which messages would repeat.
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
    batch_max: int = 1
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
    command: str = ""
    version: int = MANIFEST_VERSION

    def __post_init__(self) -> None:
        for name in TEXTS:
            if UNPRINTABLE.search(getattr(self, name)):
                raise ModelFileError(f"{name} is {getattr(self, name)!r:.80}, expected characters that can be printed")

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
    told = manifest.to_dict()
    text = json.dumps(told | {OWN_HASH: _hash_of(told)}, indent=2, sort_keys=True) + "\n"
    write_whole(manifest_path(plan), text.encode())


def read_manifest(plan: Path) -> EngineManifest:
    """Read the manifest of an engine; the engine itself is not looked at.

    Raises:
        ModelFileError: It is missing, no manifest, of a later version, was edited, or holds an impossible value.
    """
    path = manifest_path(plan)
    if not path.is_file():
        raise ModelFileError(f"{plan.name} has no manifest {path.name} beside it; build it again: deblurrt build")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return _manifest(told)
    except (OSError, UnicodeDecodeError, TypeError, KeyError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(f"{path.name} is no manifest of an engine ({reason}); build the engine again") from error


def _hash_of(told: Mapping[str, Any]) -> str:
    """Hash all fields but the hash itself, however the file is laid out."""
    fields_told = {name: value for name, value in told.items() if name != OWN_HASH}
    return hashlib.sha256(json.dumps(fields_told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _manifest(told: Any) -> EngineManifest:
    if not isinstance(told, dict):
        raise TypeError(f"it is a {type(told).__name__}, expected an object")
    unknown = sorted(told.keys() - {entry.name for entry in fields(EngineManifest)} - {OWN_HASH})
    if told.get("version") != MANIFEST_VERSION or unknown:
        what = f"fields {', '.join(map(repr, unknown)):.80}" if unknown else f"version {told.get('version')!r:.20}"
        raise ValueError(f"it has {what}, this deblurrt knows version {MANIFEST_VERSION}")
    # manifests from before engines took several frames at once say nothing of it
    _check_kinds({"batch_max": 1, **told})
    _check_values({"batch_max": 1, **told})
    contract = FrameContract.from_json(json.dumps(told["contract"]))
    if told.get(OWN_HASH) != _hash_of(told):
        raise ValueError("it was edited: its fields do not have the hash they were written with")
    shapes = tuple((tall, wide) for tall, wide in told["shapes"])
    values = {name: value for name, value in told.items() if name != OWN_HASH}
    return EngineManifest(**{**values, "contract": contract, "shapes": shapes, "targets": tuple(told["targets"])})


def _check_kinds(told: Mapping[str, Any]) -> None:
    """Refuse values of other kinds than the builder writes."""
    blank = EngineManifest("", FrameContract(), "", "", "").to_dict()
    for name, example in blank.items():
        value = told[name]
        kinds: tuple[type, ...] = (int, float, type(None)) if example is None else (type(example),)
        if type(value) not in kinds:
            raise TypeError(f"{name} is {value!r:.80}, expected {' or '.join(kind.__name__ for kind in kinds)}")
        if type(value) in (int, float) and not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value!r:.80}, expected 0 or more")


def _check_values(told: Mapping[str, Any]) -> None:
    """Refuse values of the right kind that no builder writes."""
    _expect(told["backend"] in BACKENDS, "backend", told["backend"], f"one of {', '.join(BACKENDS)}")
    for name in ("onnx_sha256", "plan_sha256"):
        _expect(SHA256.fullmatch(told[name]), name, told[name], "64 hexadecimal digits")
    capability = told["compute_capability"]
    _expect(COMPUTE_CAPABILITY.fullmatch(capability), "compute_capability", capability, "such as 8.7")
    for name in TEXTS:
        _expect(not UNPRINTABLE.search(told[name]), name, told[name], "characters that can be printed")
    for name, digest in told["plugins"].items():
        is_digest = isinstance(digest, str) and SHA256.fullmatch(digest)
        _expect(is_digest, f"the plugin {name!r:.40}", digest, "64 hexadecimal digits")
    for name, share in told["precision"].items():
        is_share = type(share) in (int, float) and 0 <= share <= 1
        _expect(is_share, f"the share of {name!r:.40} in precision", share, "a number from 0 to 1")
    for target in told["targets"]:
        _expect(isinstance(target, str) and TARGET.fullmatch(target), "a target", target, "such as sm86")
    _expect(told["batch_max"] >= 1, "batch_max", told["batch_max"], "1 or more")
    _expect(_are_shapes(told["shapes"]), "shapes", told["shapes"], "three rising pairs of height and width")


def _are_shapes(shapes: list[Any]) -> bool:
    """Whether these are the smallest, typical and largest size."""
    if not all(isinstance(pair, list) and [type(side) for side in pair] == [int] * SIDES for pair in shapes):
        return False
    return len(shapes) == SIZES and all(1 <= least <= best <= most for least, best, most in zip(*shapes, strict=True))


def _expect(holds: object, what: str, value: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"{what} is {value!r:.80}, expected {expected}")
