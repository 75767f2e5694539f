"""The examples of the documentation run."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from deblurrt.core.pictures import read_picture

ROOT = Path(__file__).parents[2]


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = _load(ROOT / "docs" / "examples" / "demo.py")
    monkeypatch.setattr(module, "FRAMES", 5)
    return module


def test_demo_films_deblurs_and_scores(demo: ModuleType, tmp_path: Path) -> None:
    done = CliRunner().invoke(demo.demo, ["--output", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["captured"], summary["states"]) == (5, {"deblurred": 5})
    assert set(summary["psnr_db"]) == {"before", "after"}
    assert read_picture(tmp_path / "comparison.png").shape[1] == 3 * 640


def test_demo_takes_a_video_of_ones_own(demo: ModuleType, tmp_path: Path) -> None:
    demo.film_clip(tmp_path / "mine.mp4")
    arguments = ["--input", str(tmp_path / "mine.mp4"), "--output", str(tmp_path / "demo"), "--model", "fast"]
    done = CliRunner().invoke(demo.demo, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "psnr_db" not in json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert read_picture(tmp_path / "demo" / "comparison.png").shape[1] == 2 * 640


def test_readme_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo: ModuleType) -> None:
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example is not None
    monkeypatch.chdir(tmp_path)
    demo.film_clip(tmp_path / "blurred.mp4")
    exec(compile(example.group(1), "README.md", "exec"), {})
    assert (tmp_path / "sharper.mp4").is_file()
