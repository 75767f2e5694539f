"""Weights that lie in files beside an ONNX model: written there, found, and checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .optional import require
from .outputs import check_no_part, output_error, part_of

BLOCK_BYTES = 1 << 20
#: protobuf ends at 2 GiB; the graph itself needs some of them
MOST_INLINE_BYTES = (2 << 30) - (64 << 20)
#: digits of the SHA-256 in the name of a file of weights
NAME_DIGITS = 12
#: of places and lengths that a file can have
NUMBER_DIGITS = 18
#: smaller tensors stay in the model
LEAST_MOVED_BYTES = 1024
#: tensors begin at multiples of this, so that they can be mapped into memory
ALIGNMENT_BYTES = 4096


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
    for location, entries in _places(tensors).items():
        yield _look_at(folder, location, entries)


def weight_problems(folder: Path, tensors: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Look at the names and sizes of the files that ``tensors`` name; yields each unfit one and what is wrong."""
    for location, entries in _places(tensors).items():
        problem = place_problem(folder, location) or _size_problem(folder / location, entries)
        if problem is not None:
            yield location, problem


def _places(tensors: Iterable[Any]) -> dict[str, list[dict[str, str]]]:
    """Location -> what each tensor in that file says of its place, in order."""
    wanted: dict[str, list[dict[str, str]]] = {}
    for tensor in tensors:
        if tensor.external_data:
            entry = {entry.key: entry.value for entry in tensor.external_data}
            wanted.setdefault(entry.get("location", ""), []).append(entry)
    return dict(sorted(wanted.items()))


def _look_at(folder: Path, location: str, entries: list[dict[str, str]]) -> ExternalData:
    path = folder / location
    problem = place_problem(folder, location)
    if problem is not None:
        return ExternalData(location, problem=problem)
    sha256, sha1 = _hashes(path)
    checksums = {entry["checksum"].lower() for entry in entries if entry.get("checksum")}
    problem = _size_problem(path, entries)
    if problem is None and checksums - {sha1}:
        problem = f"has SHA-1 {sha1}, the model expects {', '.join(sorted(checksums - {sha1}))}"
    return ExternalData(location, path.stat().st_size, sha256, problem)


def _size_problem(path: Path, entries: list[dict[str, str]]) -> str | None:
    """Say whether a file is too small for what tensors say of their places, as the end of a sentence."""
    needed = 0
    for entry in entries:
        told = [entry.get(key, "0") for key in ("offset", "length")]
        if not all(text.isdecimal() and len(text) <= NUMBER_DIGITS for text in told):
            return f"has weights at {told[0]!r:.24}, {told[1]!r:.24} long, expected numbers of bytes"
        needed = max(needed, sum(map(int, told)))
    size = path.stat().st_size
    return f"has {size} bytes, at least {needed} are needed" if size < needed else None


def place_problem(folder: Path, location: str) -> str | None:
    """Say why a file of weights must not or cannot be read, as the end of a sentence; None where it can."""
    try:
        path = (folder / location).resolve()
        if not path.is_relative_to(folder.resolve()):
            return "lies outside the model's folder"
        return None if path.is_file() else "is missing"
    except (OSError, ValueError):  # too long, or with a character that no name may have
        return "has a name that no file can have"


def _hashes(path: Path) -> tuple[str, str]:
    """SHA-256, and the SHA-1 that ONNX uses for its own checksums."""
    ours, onnxs = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            ours.update(block)
            onnxs.update(block)
    return ours.hexdigest(), onnxs.hexdigest()


def weight_bytes(model: Any) -> int:
    """Size of all weights inside ``onnx.ModelProto``."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def weight_files(model: Any) -> tuple[str, ...]:
    """Name the files that hold weights of ``onnx.ModelProto``, relative to its folder, in order."""
    entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
    return tuple(sorted({entry.value for entry in entries if entry.key == "location"}))


def weights_place(path: Path) -> Path:
    """Where weights of a model at ``path`` grow, with ``.part``, until their content gives them a name."""
    return path.with_name(f"{path.name}.data")


@contextmanager
def moved_weights(model: Any, path: Path, force: bool = False) -> Iterator[None]:
    """Move the large weights of a model into a file beside its place; the block writes the model itself.

    The file is called after its content, ``m.onnx.0123456789ab.data``, so that it replaces none: whenever
    the work ends, the model that lies at ``path`` finds the weights it was written with. Without large
    weights there is no file.

    Args:
        model: ``onnx.ModelProto``; its tensors name the file, their place in it and its SHA-1.
        path: Where the model will lie.
        force: Whether what an interrupted run left may be replaced.

    Raises:
        OutputError: A part is left and ``force`` is off, or writing fails.
    """
    check_no_part(weights_place(path), force=force)
    moved = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= LEAST_MOVED_BYTES]
    if not moved:
        yield
        return
    part = part_of(weights_place(path))
    made: Path | None = None
    try:
        with part.open("wb") as file:
            places = [_append(file, tensor.raw_data) for tensor in moved]
        sha256, sha1 = _hashes(part)
        place = path.with_name(f"{path.name}.{sha256[:NAME_DIGITS]}.data")
        _point(moved, places, place.name, sha1)
        made = None if place.exists() else place
        part.replace(place)
        yield
        made = None
    except OSError as error:
        raise output_error(weights_place(path), error) from error
    finally:
        for left in filter(None, (part, made)):
            left.unlink(missing_ok=True)


def older_weights(path: Path) -> tuple[Path, ...]:
    """Files of weights that the model at ``path`` names and that are called after it, as far as they are there."""
    named = re.compile(rf"{re.escape(path.name)}(\.[0-9a-f]{{{NAME_DIGITS}}})?\.data")
    if not path.is_file() or not any(named.fullmatch(file.name) for file in path.parent.iterdir()):
        return ()
    onnx = require("onnx", purpose="read a model file")
    try:
        locations = weight_files(onnx.load(str(path), load_external_data=False))
    except Exception:  # what is replaced need not be a model
        return ()
    return tuple(path.with_name(location) for location in locations if named.fullmatch(location))


def _point(moved: list[Any], places: list[dict[str, str]], location: str, checksum: str) -> None:
    """Let tensors name their place in a file instead of holding their values."""
    for tensor, place in zip(moved, places, strict=True):
        del tensor.external_data[:]
        for key, value in {"location": location, **place, "checksum": checksum}.items():
            tensor.external_data.add(key=key, value=value)
        tensor.ClearField("raw_data")
        tensor.data_location = tensor.EXTERNAL


def _append(file: IO[bytes], data: bytes) -> dict[str, str]:
    """Write at the next aligned place; gives what a tensor says of it."""
    file.write(bytes(-file.tell() % ALIGNMENT_BYTES))
    offset = file.tell()
    file.write(data)
    return {"offset": str(offset), "length": str(len(data))}
