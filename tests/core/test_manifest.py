"""Manifests of engines: written, read, refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
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
        (lambda told: told | {"colour": "red"}, "it has fields 'colour'"),
        (lambda told: {name: value for name, value in told.items() if name != "shapes"}, "'shapes'"),
        (lambda told: told | {"shapes": "720x1280"}, "shapes is '720x1280', expected list"),
        (lambda told: told | {"plan_bytes": "7"}, "plan_bytes is '7', expected int"),
        (lambda told: told | {"activation_bytes": "many"}, "activation_bytes is 'many'"),
        (lambda told: told | {"contract": {"scale": 3}}, "scale"),
        (lambda told: [told], "it is a list, expected an object"),
        (lambda told: told | {"shapes": [[720, 1280]]}, "expected three rising pairs of height and width"),
        (lambda told: told | {"shapes": []}, "shapes is [], expected three rising pairs"),
        (lambda told: told | {"shapes": [[-5, -5], [720, 1280], [9999, 99999]]}, "shapes is [[-5, -5]"),
        (lambda told: told | {"shapes": told["shapes"][::-1]}, "shapes is [[1088, 1920]"),
        (lambda told: told | {"shapes": [[64, 64]] * 2 + [[64.0, 64]]}, "expected three rising pairs"),
        (lambda told: told | {"shapes": [[64, 64, 64]] * 3}, "expected three rising pairs"),
        (lambda told: told | {"precision": {"fp16": "all"}}, "the share of 'fp16' in precision is 'all'"),
        (lambda told: told | {"precision": {"fp16": 1.5}}, "1.5, expected a number from 0 to 1"),
        (lambda told: told | {"precision": {"fp16": float("nan")}}, "nan, expected a number from 0 to 1"),
        (lambda told: told | {"plugins": {"p": 5}}, "the plugin 'p' is 5"),
        (lambda told: told | {"targets": [5]}, "a target is 5, expected such as sm86"),
        (lambda told: told | {"targets": ["x"]}, "a target is 'x', expected such as sm86"),
        (lambda told: told | {"backend": "onnxruntime"}, "expected one of tensorrt, tensorrt-rtx"),
        (lambda told: told | {"model": "a\n\x1b[2J"}, r"model is 'a\n\x1b[2J', expected characters"),
        (lambda told: told | {"activation_bytes": -1}, "activation_bytes is -1, expected 0 or more"),
        (lambda told: told | {"build_seconds": float("inf")}, "build_seconds is inf, expected 0 or more"),
        (lambda told: told | {"plan_bytes": True}, "plan_bytes is True, expected int"),
        (lambda told: told | {"weight_bytes": -(10**400)}, "weight_bytes is -1000"),
        (lambda told: told | {"batch_max": 0}, "batch_max is 0, expected 1 or more"),
        (lambda told: told | {"batch_max": "4"}, "batch_max is '4', expected int"),
        (lambda told: told | {"plan_sha256": "x"}, "plan_sha256 is 'x', expected 64 hexadecimal digits"),
        (lambda told: told | {"compute_capability": "old"}, "compute_capability is 'old'"),
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


@pytest.mark.parametrize(
    "edit",
    [{"precision": {"int8": 1.0}}, {"tensorrt": "10.13.3"}, {"weight_bytes": 10**400}, {"manifest_sha256": "0" * 64}],
    ids=str,
)
def test_possible_values_of_another_hand_are_noticed(tmp_path: Path, edit: dict[str, Any]) -> None:
    plan = tmp_path / "m.engine"
    write_manifest(MANIFEST, plan)
    told = json.loads(manifest_path(plan).read_text())
    manifest_path(plan).write_text(json.dumps(told | edit))
    with pytest.raises(ModelFileError, match=r"\(it was edited: .*\); build the engine again"):
        read_manifest(plan)


def test_manifest_from_before_there_were_batches_is_of_one_frame(tmp_path: Path) -> None:
    plan = tmp_path / "m.engine"
    told = {name: value for name, value in MANIFEST.to_dict().items() if name != "batch_max"}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    manifest_path(plan).write_text(json.dumps(told | {"manifest_sha256": digest}))
    assert read_manifest(plan) == MANIFEST
    assert MANIFEST.batch_max == 1


def test_frames_at_once_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_manifest(replace(MANIFEST, batch_max=4), tmp_path / "m.engine")
    assert read_manifest(tmp_path / "m.engine").batch_max == 4


def test_manifest_that_is_laid_out_anew_is_the_same(tmp_path: Path) -> None:
    plan = tmp_path / "m.engine"
    write_manifest(MANIFEST, plan)
    told = json.loads(manifest_path(plan).read_text())
    manifest_path(plan).write_text(json.dumps(dict(reversed(told.items()))))
    assert read_manifest(plan) == MANIFEST


def test_name_that_would_spoil_a_terminal_is_refused_before_a_build() -> None:
    with pytest.raises(ModelFileError, match="expected characters that can be printed"):
        replace(MANIFEST, model="a\nb.onnx")


def test_missing_and_unreadable_manifests_name_the_remedy(tmp_path: Path) -> None:
    plan = tmp_path / "m.engine"
    with pytest.raises(ModelFileError, match=r"no manifest m.engine.json beside it; build it again"):
        read_manifest(plan)
    manifest_path(plan).write_bytes(b"\xff\x00 no text")
    with pytest.raises(ModelFileError, match="is no manifest"):
        read_manifest(plan)
