"""The cache never gives another engine than the one asked for."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import OutputError
from deblurrt.core.manifest import KEY_FIELDS, EngineManifest, manifest_path, read_manifest
from deblurrt.engines import engine_cache
from deblurrt.engines.engine_cache import BUILDING, PLAN, CachedEngine, EngineCache, place_beside

WANTED = EngineManifest(
    model="m.onnx",
    contract=FrameContract(),
    onnx_sha256="a" * 64,
    backend="tensorrt",
    tensorrt="10.3.0",
    cuda="12.6",
    driver="540.4.0",
    gpu="Orin",
    compute_capability="8.7",
    plugins={"p.so": "b" * 64},
    shapes=((64, 64), (64, 64), (64, 64)),
    options={"optimization_level": 3},
)
#: another value for every field of the key
OTHERS: dict[str, Any] = {
    "version": 2,
    "backend": "tensorrt-rtx",
    "tensorrt": "10.13.3",
    "cuda": "13.0",
    "driver": "580.1",
    "gpu": "Thor",
    "compute_capability": "11.0",
    "onnx_sha256": "c" * 64,
    "plugins": {"p.so": "d" * 64},
    "calibration": "e" * 64,
    "shapes": ((64, 64), (64, 64), (64, 65)),
    "batch_max": 4,
    "targets": ("sm86",),
    "options": {"optimization_level": 4},
}


def built(cache: EngineCache, wanted: EngineManifest, plan: bytes = b"engine") -> CachedEngine:
    with cache.building() as folder:
        (folder / PLAN).write_bytes(plan)
        whole = replace(wanted, plan_sha256=hashlib.sha256(plan).hexdigest(), plan_bytes=len(plan))
        return cache.add(folder, whole)


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def test_engine_is_found_again(cache: EngineCache) -> None:
    assert cache.find(WANTED) is None
    entry = built(cache, WANTED)
    found = cache.find(WANTED)
    assert found == entry
    assert found.plan.read_bytes() == b"engine"
    assert not list(entry.folder.parent.glob(f"{BUILDING}*"))


def test_every_field_of_the_key_has_another_value_here() -> None:
    assert set(OTHERS) == set(KEY_FIELDS)
    assert {entry.name for entry in fields(EngineManifest)} >= set(KEY_FIELDS)


@pytest.mark.parametrize("name", KEY_FIELDS)
def test_one_field_that_differs_is_a_miss_and_is_named(cache: EngineCache, name: str) -> None:
    built(cache, WANTED)
    mutated = replace(WANTED, **{name: OTHERS[name]})
    assert cache.find(mutated) is None
    said = cache.why_missed(mutated)
    assert f"differs: {name} is " in said
    assert ";" not in said


def test_engines_of_one_frame_are_found_where_they_lay_before_there_were_batches(cache: EngineCache) -> None:
    before = {name: value for name, value in WANTED.key().items() if name != "batch_max"}
    place = hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()[:40]
    assert built(cache, WANTED).folder.name == place
    assert built(cache, replace(WANTED, batch_max=2)).folder.name != place


def test_what_is_measured_is_not_in_the_key(cache: EngineCache) -> None:
    built(cache, WANTED)
    assert cache.find(replace(WANTED, build_seconds=3.0, activation_bytes=9)) is not None


def test_nearest_is_of_the_same_file_first(cache: EngineCache) -> None:
    built(cache, replace(WANTED, onnx_sha256="f" * 64, model="other.onnx"))
    built(cache, replace(WANTED, tensorrt="9", cuda="9", driver="9"))
    assert "of m.onnx, differs: tensorrt is 10.3.0, there 9; cuda is 12.6, there 9" in cache.why_missed(WANTED)


def test_empty_cache_says_so(cache: EngineCache) -> None:
    assert cache.why_missed(WANTED) == "the cache is empty"


@pytest.mark.parametrize("damage", ["plan", "manifest", "half"])
def test_damaged_entry_is_dropped_and_never_given(cache: EngineCache, damage: str) -> None:
    entry = built(cache, WANTED)
    if damage == "plan":
        entry.plan.write_bytes(b"enginE")
    elif damage == "manifest":
        manifest_path(entry.plan).write_text("{}")
    else:
        manifest_path(entry.plan).unlink()
    assert cache.find(WANTED) is None
    assert not entry.folder.exists()
    assert built(cache, WANTED).plan.read_bytes() == b"engine"


def test_killed_builder_leaves_nothing_that_loads(cache: EngineCache, tmp_path: Path) -> None:
    code = (
        "import os, sys, signal; from pathlib import Path; from deblurrt.engines.engine_cache import *\n"
        "with EngineCache(Path(sys.argv[1])).building() as folder:\n"
        "    (folder / PLAN).write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "engines"], check=False)
    assert killed.returncode == -9
    assert list((tmp_path / "engines").glob(f"{BUILDING}*"))
    assert cache.find(WANTED) is None
    assert cache.entries() == []
    cache.prune(1 << 30)
    assert not list((tmp_path / "engines").glob(f"{BUILDING}*"))


def test_pruning_spares_what_another_process_is_building(cache: EngineCache) -> None:
    with cache.building() as folder:
        cache.prune(0)
        assert folder.is_dir()


def _build_slowly(folder: Path, name: str, log: Path) -> None:
    cache = EngineCache(folder)
    with cache.lock(WANTED):
        if cache.find(WANTED) is None:
            with log.open("a") as file:
                file.write(f"{name}\n")
            time.sleep(0.2)
            built(cache, WANTED, name.encode())


def test_two_builders_at_once_give_one_engine(cache: EngineCache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    builders = [
        context.Process(target=_build_slowly, args=(tmp_path / "engines", name, log)) for name in ("first", "second")
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
        assert builder.exitcode == 0
    (only,) = log.read_text().split()
    found = cache.find(WANTED)
    assert found is not None
    assert found.plan.read_text() == only


def test_entry_that_is_there_already_wins(cache: EngineCache) -> None:
    first = built(cache, WANTED, b"first")
    assert built(cache, WANTED, b"second") == first


def test_pruning_drops_what_was_used_longest_ago(cache: EngineCache) -> None:
    entries = [built(cache, replace(WANTED, calibration=str(number)), b"x" * 1000) for number in range(3)]
    for age, entry in enumerate(entries):
        os.utime(manifest_path(entry.plan), (1000 + age, 1000 + age))
    assert cache.find(entries[0].manifest) is not None
    dropped = cache.prune(2 * entries[0].size_bytes)
    assert [entry.manifest.calibration for entry in dropped] == ["1"]
    assert {entry.manifest.calibration for entry in cache.entries()} == {"0", "2"}


def test_pruning_keeps_no_older_engine_behind_one_that_does_not_fit(cache: EngineCache) -> None:
    small, large = (
        built(cache, replace(WANTED, calibration=name), b"x" * size) for name, size in (("s", 9), ("l", 9000))
    )
    os.utime(manifest_path(small.plan), (1000, 1000))
    assert cache.prune(5000, keep=large) == [small]
    assert cache.prune(5000) == [large]


def test_pruning_drops_what_another_version_left(cache: EngineCache) -> None:
    entry = built(cache, WANTED)
    manifest_path(entry.plan).write_text('{"version": 99}')
    cache.prune(1 << 30)
    assert not entry.folder.exists()


def test_entry_that_vanishes_while_it_is_hashed_is_a_miss(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    built(cache, WANTED)

    def cleared(plan: Path) -> str:
        EngineCache(plan.parent.parent).clear()
        return hashlib.sha256(plan.read_bytes()).hexdigest()

    monkeypatch.setattr(engine_cache, "file_sha256", cleared)
    assert cache.find(WANTED) is None


def test_cache_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="engines cannot be written"):
        EngineCache(tmp_path / "file" / "engines")


def test_full_disk_leaves_the_older_engine_whole(
    cache: EngineCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.engine"
    place_beside(built(cache, WANTED), path)
    other = built(cache, replace(WANTED, calibration="f" * 64), b"other")

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OutputError, match="disk full"):
        place_beside(other, path)
    assert path.read_bytes() == b"engine"
    assert read_manifest(path).calibration == ""
    assert sorted(child.name for child in tmp_path.iterdir()) == ["engines", "mine.engine", "mine.engine.json"]


def test_writing_into_an_engine_leaves_the_cache_as_it_was(cache: EngineCache, tmp_path: Path) -> None:
    place_beside(built(cache, WANTED), tmp_path / "mine.engine")
    with (tmp_path / "mine.engine").open("r+b") as file:
        file.write(b"X")
    assert cache.find(WANTED) is not None


def test_clearing_drops_everything(cache: EngineCache) -> None:
    built(cache, WANTED)
    assert cache.clear() == 1
    assert cache.entries() == []


def test_engine_lies_beside_its_manifest_where_the_user_wants_it(cache: EngineCache, tmp_path: Path) -> None:
    entry = built(cache, WANTED)
    path = tmp_path / "mine.engine"
    path.write_bytes(b"older")
    place_beside(entry, path)
    place_beside(entry, path)
    assert path.read_bytes() == b"engine"
    assert read_manifest(path) == entry.manifest
    assert sorted(child.name for child in tmp_path.iterdir()) == ["engines", "mine.engine", "mine.engine.json"]
