"""What a quantised file says of its calibration."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from onnx import helper

from deblurrt.calibration.file_facts import describe
from deblurrt.calibration.quantize_config import QuantizeConfig
from deblurrt.calibration.tensor_statistics import StatisticsKey
from deblurrt.core.artifacts import CONTRACT_KEY, PROVENANCE_KEY, SUMMARY_KEY, metadata_of
from tests.calibration.small_networks import CONTRACT, residual

KEY = StatisticsKey("model", "frames", ("a/1", "a/2"), 0, 512)
CONFIG = QuantizeConfig("openvino")


def described(
    key: StatisticsKey = KEY, config: QuantizeConfig = CONFIG, share: float = 0.75, lost_db: float | None = None
) -> dict[str, Any]:
    """Metadata of a described graph, read back."""
    model = residual()
    facts = {
        CONTRACT_KEY: CONTRACT.to_json(),
        PROVENANCE_KEY: json.dumps({"weights_sha256": "w"}),
        SUMMARY_KEY: json.dumps({"macs_per_pixel": {"fp32": 1000}, "parameters": 7}),
        "other": "kept",
    }
    helper.set_model_props(model, facts)
    describe(model, key, config, share, lost_db)
    metadata = metadata_of(model)
    return metadata | {name: json.loads(metadata[name]) for name in (PROVENANCE_KEY, SUMMARY_KEY)}


def hash_of(**changes: Any) -> str:
    digest: str = described(**changes)[PROVENANCE_KEY]["calibration_sha256"]
    return digest


def test_frames_choices_and_loss_are_told_beside_what_was_there() -> None:
    found = described(lost_db=0.123456)
    assert found["other"] == "kept"
    assert found[CONTRACT_KEY] == CONTRACT.to_json()
    provenance = found[PROVENANCE_KEY]
    assert provenance["weights_sha256"] == "w"
    told = provenance["calibration"]
    assert (told["frames"], told["frames_sha256"], told["lost_db"]) == (["a/1", "a/2"], "frames", 0.1235)
    assert (told["target"], told["method"], told["format"], told["ends"]) == ("openvino", "mse", "int8", True)
    assert "test_split" not in told


def test_products_are_counted_by_what_they_compute_in() -> None:
    summary = described()[SUMMARY_KEY]
    assert summary["macs_per_pixel"] == {"int8": 750, "fp32": 250}
    assert summary["parameters"] == 7
    assert summary["operators"] == {"Add": 2, "Conv": 4, "Relu": 1}


@pytest.mark.parametrize(
    ("config", "share", "expected"),
    [
        (CONFIG, 1.0, {"int8": 1000}),
        (QuantizeConfig("tensorrt", rest="fp16"), 0.5, {"int8": 500, "fp16": 500}),
        (QuantizeConfig("tensorrt", format="w8a16"), 1.0, {"w8a16": 1000}),
    ],
)
def test_types_of_products_are_those_of_the_choices(
    config: QuantizeConfig, share: float, expected: dict[str, int]
) -> None:
    assert described(config=config, share=share)[SUMMARY_KEY]["macs_per_pixel"] == expected


def test_frames_of_a_test_split_are_marked() -> None:
    told = described(replace(KEY, test_split="val"))[PROVENANCE_KEY]["calibration"]
    assert told["test_split"] == "val"


def test_hash_is_that_of_frames_and_choices() -> None:
    same = hash_of()
    assert same == hash_of()
    changed = [
        hash_of(key=replace(KEY, names=("a/1", "a/3"))),
        hash_of(key=replace(KEY, frames_sha256="others")),
        hash_of(key=replace(KEY, test_split="val")),
        hash_of(config=replace(CONFIG, seed=1)),
        hash_of(config=replace(CONFIG, method="entropy")),
        hash_of(config=replace(CONFIG, exclude="head")),
        hash_of(config=replace(CONFIG, narrow_weights=False)),
    ]
    assert len({same, *changed}) == 1 + len(changed)


def test_time_a_search_had_is_no_part_of_the_hash() -> None:
    assert hash_of() == hash_of(config=replace(CONFIG, time_limit_s=5.0))
