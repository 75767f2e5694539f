"""Manifests of engines: written, read, refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import ModelFileError
from deblurrt.core.manifest import EngineManifest, manifest_path, read_manifest, write_manifest

MANIFEST = EngineManifest(
    model="mprnet.onnx",
    contract=FrameContract(multiple=8, min_size=8, halo_px=40),
    onnx_sha256="a" * 64,
    backend="tensorrt",
    tensorrt="10.3.0",
    cuda="12.6",
    driver="540.4.0",
    gpu="Orin (nvgpu)",
    compute_capability="8.7",
    plugins={"libdeblurrt.so": "b" * 64},
    shapes=((64, 64), (720, 1280), (1088, 1920)),
    options={"optimization_level": 3},
    precision={"fp16": 0.98, "fp32": 0.02},
    provenance={"weights": "random:0"},
    activation_bytes=1,
    build_seconds=2.5,
    plan_sha256="c" * 64,
    plan_bytes=7,
)


def test_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = tmp_path / "m.engine"
    write_manifest(MANIFEST, plan)
    assert manifest_path(plan).name == "m.engine.json"
    assert read_manifest(plan) == MANIFEST


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told | {"version": 2}, "it has version 2, this deblurrt knows version 1"),
        (lambda told: told | {"colour": "red"}, "it has fields colour"),
        (lambda told: {name: value for name, value in told.items() if name != "shapes"}, "'shapes'"),
        (lambda told: told | {"shapes": "720x1280"}, "shapes is '720x1280', expected list"),
        (lambda told: told | {"plan_bytes": "7"}, "plan_bytes is '7', expected int"),
        (lambda told: told | {"activation_bytes": "many"}, "activation_bytes is 'many'"),
        (lambda told: told | {"contract": {"scale": 3}}, "scale"),
        (lambda told: [told], "it is a list, expected an object"),
    ],
)
def test_edited_manifest_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    plan = tmp_path / "m.engine"
    manifest_path(plan).write_text(json.dumps(change(MANIFEST.to_dict())))
    with pytest.raises(ModelFileError, match=r"m\.engine\.json is no manifest of an engine") as caught:
        read_manifest(plan)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_manifests_name_the_remedy(tmp_path: Path) -> None:
    plan = tmp_path / "m.engine"
    with pytest.raises(ModelFileError, match=r"no manifest m.engine.json beside it; build it again"):
        read_manifest(plan)
    manifest_path(plan).write_bytes(b"\xff\x00 no text")
    with pytest.raises(ModelFileError, match="is no manifest"):
        read_manifest(plan)
