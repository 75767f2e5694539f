"""An engine in a table: what its manifest says, and whether it fits this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from ..core.contract import FrameContract
from ..core.engine_file import EngineFile
from ..core.tensorrt_packages import this_host
from .provenance_rows import calibration_told, weights_told

MEBIBYTE = 1 << 20


def contract_text(contract: FrameContract | None) -> str:
    """A contract in one line."""
    if contract is None:
        return "none: the file does not say what it needs of frames"
    return ", ".join(f"{name} {value}" for name, value in asdict(contract).items())


def engine_rows(engine: EngineFile) -> Iterator[tuple[str, str]]:
    """Name and text of every line of the table."""
    manifest = engine.manifest
    yield "engine", f"{engine.path}, {manifest.plan_bytes:,} bytes, whole"
    yield "SHA-256", manifest.plan_sha256
    yield "built from", f"{manifest.model}, ONNX SHA-256 {manifest.onnx_sha256}"
    yield "builder", f"{manifest.backend} {manifest.tensorrt}" + (f", CUDA {manifest.cuda}" if manifest.cuda else "")
    where = f"{manifest.gpu}, compute capability {manifest.compute_capability}, driver {manifest.driver}"
    yield "GPU", where if manifest.gpu else f"none in particular: {', '.join(manifest.targets) or 'portable'}"
    least, best, most = (f"{height}x{width}" for height, width in manifest.shapes)
    count = manifest.batch_max
    at_once = f", up to {count} at once, fast for {count}" if count > 1 else ", one at a time"
    yield "frames", (best if least == most else f"{least} to {most}, fast for {best}") + at_once
    yield "contract", contract_text(manifest.contract)
    yield "convolutions", ", ".join(f"{share:.1%} {dtype}" for dtype, share in manifest.precision.items()) or "none"
    memory = {
        "values": manifest.activation_bytes,
        "weights": manifest.weight_bytes,
        "values, as estimated": manifest.estimated_bytes,
    }
    told = ", ".join(f"{what} {size / MEBIBYTE:,.1f} MiB" for what, size in memory.items() if size is not None)
    yield "memory", told or "the builder did not say"
    yield "weights", weights_told(manifest.provenance) or "unknown"
    calibration = calibration_told(manifest.provenance)
    if calibration is not None:
        yield "calibration", calibration
    plugins = ", ".join(f"{name} {digest[:12]}" for name, digest in manifest.plugins.items())
    yield "plugins", plugins or "none needed"
    yield "options", ", ".join(f"{name} {value}" for name, value in manifest.options.items()) or "the builder's own"
    yield "fits here", engine.misfit(this_host(manifest.backend)) or "yes"
