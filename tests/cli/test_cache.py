"""``deblurrt cache`` of engines, ONNX files and libraries, with stand-ins for all of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deblurrt.engines.engine_cache import PLAN, EngineCache
from tests.runtime.fake_gpu import MANIFEST

Deblurrt = Callable[..., int]
Shown = pytest.CaptureFixture[str]

SIZES = {"onnx": 7 + 5, "plugins": 9}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of two engines, a network with a file of weights beside it, and a library."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root = tmp_path / "deblurrt"
    cache = EngineCache(root / "engines")
    for plan in (b"one", b"other"):
        with cache.building() as folder:
            (folder / PLAN).write_bytes(plan)
            digest = hashlib.sha256(plan).hexdigest()
            cache.add(folder, replace(MANIFEST, onnx_sha256=digest, plan_sha256=digest, plan_bytes=len(plan)))
    for place, size in (("onnx/m.onnx", 7), ("onnx/m.onnx.0123.data", 5), ("plugins/0123/library.so", 9)):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(bytes(size))
    (root / "eval").mkdir()
    (root / "eval" / "journal.jsonl").write_text("{}")
    return root


def files(root: Path) -> set[str]:
    return {path.relative_to(root).parts[0] for path in root.rglob("*") if path.is_file() and ".locks" not in str(path)}


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("size", ["nan", "inf", "-1", "many"])
def test_size_that_is_none_is_refused_and_drops_nothing(deblurrt: Deblurrt, root: Path, size: str) -> None:
    assert deblurrt("cache", "prune", "--max-size", size) == 2
    assert len(EngineCache(root / "engines").entries()) == 2


def test_list_tells_engines_and_the_size_of_every_folder(deblurrt: Deblurrt, root: Path, capsys: Shown) -> None:
    assert deblurrt("cache", "list", "--json", "-") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == str(root)
    assert {entry["model"] for entry in told["engines"]} == {MANIFEST.model}
    assert told["bytes"].items() >= SIZES.items()
    assert told["bytes"]["engines"] >= sum(entry["bytes"] for entry in told["engines"])
    assert deblurrt("cache", "list") == 0
    shown = capsys.readouterr().out
    for part in (MANIFEST.model, "ONNX files", "plugin libraries", str(root / "onnx")):
        assert part in shown


def test_list_of_one_folder_is_of_it_alone(deblurrt: Deblurrt, root: Path, capsys: Shown) -> None:
    assert deblurrt("cache", "list", "--only", "onnx", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(root / "onnx"), "bytes": {"onnx": 12}}


@pytest.mark.parametrize(
    ("only", "place"), [((), ""), (("--only", "onnx"), "onnx"), (("--only", "engines"), "engines")]
)
def test_path_is_said_alone_or_as_json(
    deblurrt: Deblurrt, root: Path, capsys: Shown, only: tuple[str, ...], place: str
) -> None:
    assert deblurrt("cache", "path", *only) == 0
    assert capsys.readouterr().out == f"{root / place}\n"
    assert deblurrt("cache", "path", *only, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(root / place)}


def test_clear_drops_all_that_is_listed_and_says_so_in_its_file(
    deblurrt: Deblurrt, root: Path, tmp_path: Path, capsys: Shown
) -> None:
    place = tmp_path / "cleared.json"
    assert deblurrt("cache", "clear", "--json", place) == 0
    dropped = {"engines": 2, "onnx": 1, "plugins": 1}
    assert json.loads(place.read_text()) == {"path": str(root), "dropped": dropped}
    assert "dropped 2 engines, 1 ONNX file, 1 plugin library" in " ".join(capsys.readouterr().err.split())
    assert files(root) == {"eval"}


@pytest.mark.parametrize("kind", ["engines", "onnx", "plugins"])
def test_clear_of_one_folder_leaves_the_others(deblurrt: Deblurrt, root: Path, kind: str) -> None:
    assert deblurrt("cache", "clear", "--only", kind) == 0
    assert files(root) == {"eval", "engines", "onnx", "plugins"} - {kind}


def test_clear_leaves_what_another_process_is_making(deblurrt: Deblurrt, root: Path) -> None:
    new, old = root / "onnx" / "new.onnx.part", root / "plugins" / ".compiling-old"
    new.write_bytes(b"half")
    old.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert deblurrt("cache", "clear") == 0
    assert new.exists()
    assert not old.exists()


def test_prune_says_what_it_dropped_and_does_not_take_other_folders(
    deblurrt: Deblurrt, root: Path, capsys: Shown
) -> None:
    assert deblurrt("cache", "prune", "--only", "onnx") == 2
    assert "prune drops engines" in capsys.readouterr().err
    assert deblurrt("cache", "prune", "--max-size", "0", "--json", "-") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["dropped"], told["engines"]) == ({"engines": 2}, [])
    assert files(root) == {"eval", "onnx", "plugins"}
