from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deblurrt.core.artifacts import open_onnx
from deblurrt.core.contract import FrameContract
from deblurrt.runtime.backend import BackendConfig
from deblurrt.runtime.kept_shapes import KeptShapes
from deblurrt.runtime.onnxruntime_backend import OnnxRuntimeBackend
from tests.tiny_graphs import write_identity


def shape(batch: int, height: int = 10) -> dict[str, tuple[int, ...]]:
    return {"frames": (batch, height, 10, 3)}


def test_shapes_that_take_turns_are_all_kept() -> None:
    kept: KeptShapes[int] = KeptShapes(values_max=10_000)
    for batch in range(1, 7):
        assert kept.get(shape(batch)) is None
        kept.add(shape(batch), batch)
    assert [kept.get(shape(batch)) for batch in range(1, 7)] == [1, 2, 3, 4, 5, 6]


def test_shape_not_asked_for_longest_goes_first() -> None:
    kept: KeptShapes[str] = KeptShapes(values_max=1500)
    kept.add(shape(1), "one")
    kept.add(shape(2), "two")
    assert kept.get(shape(1)) == "one"
    kept.add(shape(2, 20), "large")
    assert kept.get(shape(2)) is None
    assert kept.get(shape(1)) == "one"
    assert kept.get(shape(2, 20)) == "large"


def test_the_last_shape_is_kept_whatever_its_size_and_alone_where_it_is_large() -> None:
    kept: KeptShapes[str] = KeptShapes(values_max=1500)
    kept.add(shape(1), "small")
    kept.add(shape(1, 720), "large")
    assert kept.get(shape(1, 720)) == "large"
    assert kept.get(shape(1)) is None


def test_onnxruntime_prepares_shapes_that_take_turns_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_identity(tmp_path / "identity.onnx", FrameContract())
    backend = OnnxRuntimeBackend(open_onnx(path), BackendConfig(threads=1))
    prepared: list[Any] = []
    add = KeptShapes.add

    def noted(kept: KeptShapes[Any], shapes: Any, made: Any) -> None:
        prepared.append(shapes)
        add(kept, shapes, made)

    monkeypatch.setattr(KeptShapes, "add", noted)
    for batch in (1, 2, 1, 2, 1):
        frames = np.full((batch, 4, 6, 3), batch, np.uint8)
        np.testing.assert_array_equal(backend.run({"frames": frames})["restored"], frames)
    assert [shapes["frames"][0] for shapes in prepared] == [1, 2]
