"""Engines that were built before: found by everything that decides what an engine is, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from ..core.artifacts import sha256_of
from ..core.errors import ModelFileError
from ..core.manifest import KEY_FIELDS, EngineManifest, manifest_path, read_manifest, write_manifest
from ..core.outputs import output_error, part_of

PLAN = "model.engine"
#: an entry in the making; never looked into
BUILDING = ".building-"
LOCKS = ".locks"
#: what is kept when a build ends
MOST_CACHED_BYTES = 20 << 30


@dataclass(frozen=True, slots=True)
class CachedEngine:
    """An entry.

    Attributes:
        plan: The engine.
        manifest: What lies beside it.
    """

    plan: Path
    manifest: EngineManifest

    @property
    def folder(self) -> Path:
        """What is removed to drop the entry."""
        return self.plan.parent

    @property
    def used(self) -> float:
        """When it was made or last found, seconds since the epoch; 0 when another process drops it."""
        try:
            return manifest_path(self.plan).stat().st_mtime
        except OSError:
            return 0.0

    @property
    def size_bytes(self) -> int:
        """On disk; 0 when another process drops it."""
        try:
            return sum(path.stat().st_size for path in self.folder.iterdir())
        except OSError:
            return 0


class EngineCache:
    """Engines in a folder, one folder each, named by the hash of ``EngineManifest.key``.

    Several processes may use it at once. An entry appears by one rename, so that a process which is
    killed leaves nothing that could be found.

    Args:
        folder: Made if it is missing.

    Raises:
        OutputError: It cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with _writing(folder):
            (folder / LOCKS).mkdir(parents=True, exist_ok=True)

    def find(self, wanted: EngineManifest) -> CachedEngine | None:
        """Find the engine that ``wanted`` would become; a damaged one is dropped.

        Its bytes are hashed: what is found is what was built.
        """
        plan = self._place(wanted) / PLAN
        if not plan.is_file():
            return None
        try:
            manifest = read_manifest(plan)
            if manifest.key() == wanted.key() and manifest.plan_sha256 == file_sha256(plan):
                os.utime(manifest_path(plan))
                return CachedEngine(plan, manifest)
        except (ModelFileError, OSError):  # damaged, or dropped by another process in this moment
            pass
        shutil.rmtree(plan.parent, ignore_errors=True)
        return None

    def why_missed(self, wanted: EngineManifest) -> str:
        """Say what keeps the nearest engine of the cache from being the wanted one."""
        key = wanted.key()
        nearest = min(self.entries(), key=lambda entry: _distance(key, entry.manifest.key()), default=None)
        if nearest is None:
            return "the cache is empty"
        other = nearest.manifest.key()
        differing = [name for name in KEY_FIELDS if key[name] != other[name]]
        said = "; ".join(f"{name} is {_short(key[name])}, there {_short(other[name])}" for name in differing)
        return f"the nearest in the cache, of {nearest.manifest.model}, differs: {said}"

    @contextmanager
    def lock(self, wanted: EngineManifest) -> Iterator[None]:
        """Let one process at a time build an engine; others wait here."""
        place = self._folder / LOCKS / self._place(wanted).name
        with _writing(place):
            file = place.open("w")
        with file:
            _lock(file.fileno())
            # closing the file gives the lock back, and so does the end of the process
            yield

    @contextmanager
    def building(self) -> Iterator[Path]:
        """Give a folder for an engine in the making; it is removed unless ``add`` took it."""
        with _writing(self._folder):
            folder = Path(tempfile.mkdtemp(prefix=f"{BUILDING}{os.getpid()}-", dir=self._folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, folder: Path, manifest: EngineManifest) -> CachedEngine:
        """Take an engine that lies in a folder of ``building`` as ``PLAN``.

        Raises:
            OutputError: The disk is full.
        """
        place = self._place(manifest)
        write_manifest(manifest, folder / PLAN)
        try:
            folder.rename(place)
        except OSError as error:
            # another process was here first; its engine is as good
            found = self.find(manifest)
            if found is None:
                raise output_error(place, error) from error
            return found
        return CachedEngine(place / PLAN, manifest)

    def entries(self) -> list[CachedEngine]:
        """All engines whose manifest can be read, the one used last first."""
        found = []
        for plan in self._folder.glob(f"[!.]*/{PLAN}"):
            try:
                found.append(CachedEngine(plan, read_manifest(plan)))
            except ModelFileError:
                continue
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def prune(self, most_bytes: int, keep: CachedEngine | None = None) -> list[CachedEngine]:
        """Drop the engines used longest ago until the rest fits, and what dead processes or other versions left.

        Args:
            most_bytes: What may be left.
            keep: An engine that stays, however large.

        Returns:
            The engines that were dropped.
        """
        self._drop_leftovers()
        entries = self.entries()
        readable = {entry.folder for entry in entries}
        for folder in set(self._folder.glob("[!.]*")) - readable:
            shutil.rmtree(folder, ignore_errors=True)
        totals = accumulate(entry.size_bytes for entry in entries)
        dropped = [entry for entry, total in zip(entries, totals, strict=True) if total > most_bytes and entry != keep]
        for entry in dropped:
            shutil.rmtree(entry.folder, ignore_errors=True)
        return dropped

    def clear(self) -> int:
        """Drop everything; gives the number of engines."""
        count = len(self.entries())
        self._drop_leftovers()
        for folder in self._folder.glob("[!.]*"):
            shutil.rmtree(folder, ignore_errors=True)
        return count

    def _place(self, wanted: EngineManifest) -> Path:
        # engines of one frame lie where they lay before there were others
        key = {name: value for name, value in wanted.key().items() if (name, value) != ("batch_max", 1)}
        text = json.dumps(key, sort_keys=True)
        return self._folder / hashlib.sha256(text.encode()).hexdigest()[:40]

    def _drop_leftovers(self) -> None:
        for folder in self._folder.glob(f"{BUILDING}*"):
            owner = folder.name.removeprefix(BUILDING).partition("-")[0]
            if not owner.isdecimal() or not _is_alive(int(owner)):
                shutil.rmtree(folder, ignore_errors=True)


def place_beside(entry: CachedEngine, path: Path) -> None:
    """Put a copy of a cached engine and its manifest where the user wants them; the manifest last.

    Raises:
        OutputError: The disk is full or the place cannot be written; what was there is untouched.
    """
    places = {path: part_of(path), manifest_path(path): part_of(manifest_path(path))}
    try:
        with _writing(path):
            # no link: whoever writes into one of two links of a file has written into both
            shutil.copyfile(entry.plan, places[path])
            write_manifest(entry.manifest, places[path])
            manifest_path(places[path]).replace(places[manifest_path(path)])
            manifest_path(path).unlink(missing_ok=True)
            for place, part in places.items():
                part.replace(place)
    finally:
        for part in (*places.values(), manifest_path(places[path])):
            part.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Hash a file of any size."""
    return sha256_of([path])


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise output_error(path, error) from error


def _distance(key: dict[str, Any], other: dict[str, Any]) -> tuple[bool, int]:
    """How near another entry is: first of the same ONNX file, then with few differences."""
    return key["onnx_sha256"] != other["onnx_sha256"], sum(key[name] != other[name] for name in KEY_FIELDS)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    is_hash = len(text) == 64 and all(character in "0123456789abcdef" for character in text)
    return f"{text[:12]}…" if is_hash else text or "none"


def _lock(descriptor: int) -> None:
    """Lock an open file; where the system cannot, two processes may build the same engine, which is harmless."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
