"""Weights that lie in files beside an ONNX model: which files, and whether they are whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ExternalData:
    """A file that holds weights of a model.

    Attributes:
        location: Its path as the model gives it, relative to the model's folder.
        size_bytes: None where it is missing or must not be read.
        sha256: Likewise.
        problem: What is wrong with it, as the end of a sentence; None where it is whole.
    """

    location: str
    size_bytes: int | None = None
    sha256: str | None = None
    problem: str | None = None


def external_data(folder: Path, tensors: Iterable[Any]) -> Iterator[ExternalData]:
    """Look at every file that ``tensors`` name; reads them whole.

    Args:
        folder: Where the model lies.
        tensors: ``onnx.TensorProto`` of the model, those with their values inside among them.
    """
    wanted: dict[str, list[dict[str, str]]] = {}
    for tensor in tensors:
        if tensor.external_data:
            entry = {entry.key: entry.value for entry in tensor.external_data}
            wanted.setdefault(entry.get("location", ""), []).append(entry)
    for location, entries in sorted(wanted.items()):
        yield _look_at(folder, location, entries)


def _look_at(folder: Path, location: str, entries: list[dict[str, str]]) -> ExternalData:
    path = (folder / location).resolve()
    if not path.is_relative_to(folder.resolve()):
        return ExternalData(location, problem="lies outside the model's folder")
    if not path.is_file():
        return ExternalData(location, problem="is missing")
    size = path.stat().st_size
    needed = max(_number(entry, "offset") + _number(entry, "length") for entry in entries)
    sha256, sha1 = _hashes(path)
    checksums = {entry["checksum"].lower() for entry in entries if entry.get("checksum")}
    problem = None
    if size < needed:
        problem = f"has {size} bytes, at least {needed} are needed"
    elif checksums - {sha1}:
        problem = f"has SHA-1 {sha1}, the model expects {', '.join(sorted(checksums - {sha1}))}"
    return ExternalData(location, size, sha256, problem)


def _number(entry: dict[str, str], key: str) -> int:
    text = entry.get(key, "0")
    return int(text) if text.isdecimal() else 0


def _hashes(path: Path) -> tuple[str, str]:
    """SHA-256, and the SHA-1 that ONNX uses for its own checksums."""
    ours, onnxs = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            ours.update(block)
            onnxs.update(block)
    return ours.hexdigest(), onnxs.hexdigest()
