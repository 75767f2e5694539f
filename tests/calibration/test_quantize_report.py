"""What a report says of every decision."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from deblurrt.calibration.budget_search import Trial
from deblurrt.calibration.quality import FrameScore, Quality
from deblurrt.calibration.quantize_config import QuantizeConfig
from deblurrt.calibration.quantize_report import QuantizeReport
from deblurrt.calibration.sites import Site
from deblurrt.calibration.tensor_statistics import StatisticsKey

FIRST = Site("first", "product", "Conv", "net.first", "frames", 40, is_able=True, is_chosen=False, reason="the first")
INNER = Site("inner", "product", "Conv", "net.inner", "first", 60, is_able=True, is_chosen=True, reason="of maps")
ADD = Site(
    "add", "skip", "Add", "", "first", 0, is_able=True, is_chosen=True, reason="inner takes the sum in", partner="inner"
)
SCORE = FrameScore("a/9", 0.02, 1e-5, 30.02, 30.0, 0.9, 0.89, 12.0, 11.9)


def report(chosen: set[str]) -> QuantizeReport:
    return QuantizeReport(
        config=QuantizeConfig("tensorrt", psnr_budget_db=0.1),
        key=StatisticsKey("m", "f", ("a/1", "a/2"), 0, 512),
        notes=("a note",),
        sites=(FIRST, INNER, ADD),
        chosen=frozenset(chosen),
        scales={"first": {"step": 0.5, "zero_point": 0.0, "low": -63.5, "high": 63.5}},
        share=0.6,
        quality=Quality((SCORE,), has_truth=True),
        trials=(Trial(frozenset(chosen), 0.02, 0.6, 0.45, is_best=True),),
        errors={"inner": 1e-6},
        signal_db={"inner": 40.0},
        is_cut_short=False,
        seconds={"total": 1.5},
    )


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"inner", "add"}, ["the first", "of maps", "inner takes the sum in"]),
        ({"first", "inner", "add"}, ["the budget allows it", "of maps", "inner takes the sum in"]),
        ({"inner"}, ["the first", "of maps", "left float by the search for the budget"]),
        (
            {"first"},
            [
                "the budget allows it",
                "left float by the search for the budget",
                "the convolution inner beside it is not quantised",
            ],
        ),
    ],
)
def test_reason_is_that_of_what_came_of_it(chosen: set[str], expected: list[str]) -> None:
    found = report(chosen)
    assert [found.reason(site) for site in found.sites] == expected
    assert [decision["reason"] for decision in found.to_dict()["decisions"]] == expected


def test_json_has_every_part() -> None:
    values = report({"inner", "add"}).to_dict()
    assert json.loads(json.dumps(values)) == values
    assert list(values) == [
        *("lost_db", "share_8bit", "refusal", "config", "calibration", "notes", "quality", "trials"),
        *("is_cut_short", "decisions", "scales", "seconds"),
    ]
    assert (values["lost_db"], values["share_8bit"]) == (0.02, 0.6)
    assert values["calibration"] == {"frames": ["a/1", "a/2"], "frames_sha256": "f", "test_split": None}
    assert [decision["is_quantized"] for decision in values["decisions"]] == [False, True, True]
    inner = values["decisions"][1]
    assert (inner["name"], inner["operator"], inner["macs"]) == ("inner", "Conv", 60)
    assert (inner["error_alone"], inner["signal_over_error_db"]) == (1e-6, 40.0)
    assert values["decisions"][0]["error_alone"] is None


def test_report_without_held_out_frames_has_no_loss() -> None:
    values = replace(report({"inner"}), quality=None).to_dict()
    assert (values["lost_db"], values["quality"]) == (None, None)
