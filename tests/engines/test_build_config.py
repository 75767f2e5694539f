"""Choices of a build that contradict each other."""

from __future__ import annotations

from typing import Any

import pytest

from deblurrt.core.errors import UsageError
from deblurrt.engines.build_config import BuildConfig, Shapes


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"backend": "cuda"}, "expected one of tensorrt, tensorrt-rtx"),
        ({"targets": ("8.6",)}, "'8.6' is no compute capability"),
        ({"backend": "tensorrt", "targets": ("sm86",)}, "--targets goes with tensorrt-rtx"),
        ({"workspace_mib": 0}, "workspace is 0 MiB"),
        ({"batch_max": 0}, "the batch is 0 frames, expected 1 to 64"),
        ({"batch_max": 65}, "the batch is 65 frames"),
        ({"optimization_level": 6}, "level is 6, expected 0 to 5"),
    ],
)
def test_impossible_choices_are_refused(choices: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        BuildConfig(**choices)


@pytest.mark.parametrize("shapes", [((9, 8), (8, 8), (8, 8)), ((8, 8), (8, 9), (8, 8)), ((0, 8), (8, 8), (8, 8))])
def test_shapes_rise(shapes: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(UsageError, match="expected MIN/OPT/MAX in rising order"):
        Shapes(*shapes)


def test_shapes_read_as_they_are_written() -> None:
    assert Shapes((64, 96), (720, 1280), (1088, 1920)).describe() == "64x96/720x1280/1088x1920"
