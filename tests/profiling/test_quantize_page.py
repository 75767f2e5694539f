"""Tables of what 8 bits cost: every cell from a row, whatever failed in its place."""

from __future__ import annotations

from typing import Any

from deblurrt.profiling.quantize_page import modelopt_text, zoo_text

INT8 = {"seconds": 1.0, "shares": {"int8": 0.9, "fp32": 0.1}, "dearer": 0}
ZOO: dict[str, Any] = {
    "network": "eacd",
    "methods": {"mse": {"lost_db": 0.5, "share": 0.99}},
    "placements": {"search": {"error": "the budget is 0.1 dB"}},
    "engine": INT8,
}
OURS: dict[str, Any] = {
    "network": "fast",
    "tool": "modelopt",
    "method": "max",
    "lost_db": 0.1234,
    "share": 0.5,
    "cpu_seconds": 7.4,
    "peak_mib": 1234.5,
    "engine": INT8,
}


def lines_of(text: str) -> list[str]:
    return text.splitlines()[2:]


def test_zoo_row_tells_methods_placements_report_and_engine() -> None:
    row = {**ZOO, "report": {"lost_db": 0.25, "share": 0.98}}
    assert lines_of(zoo_text([row])) == ["| eacd | 0.500 dB, 99% | refused | 0.250 dB, 98% | 90% int8, 10% fp32 |"]


def test_search_that_had_no_time_is_told_from_one_that_found_nothing() -> None:
    errors = ("the budget is 0.1 dB", "the budget is 0.1 dB; the time limit ended the search; give more")
    rows = [{**ZOO, "placements": {"search": {"error": error}}} for error in errors]
    assert [line.split(" | ")[2] for line in lines_of(zoo_text(rows))] == ["refused", "time was over"]


def test_loss_that_rounds_to_nothing_has_no_sign() -> None:
    (line,) = lines_of(modelopt_text([{**OURS, "lost_db": -0.0004}]))
    assert "| 0.000 |" in line


def test_zoo_row_whose_report_is_missing_or_failed_says_so() -> None:
    lines = lines_of(zoo_text([ZOO, {**ZOO, "report": {"error": "no page"}}]))
    assert [line.split(" | ")[3] for line in lines] == ["not measured", "failed: no page"]


def test_zoo_row_that_failed_keeps_the_columns() -> None:
    lines = lines_of(zoo_text([ZOO, {"network": "wrcan", "error": "too large"}]))
    assert len({line.count("|") for line in lines}) == 1
    assert lines[1].startswith("| wrcan | too large |")


def test_modelopt_row_tells_loss_share_cost_and_engine() -> None:
    line = "| fast | modelopt | max | 0.123 | 50.0% | 7 | 1234 | 90% int8, 10% fp32 |"
    assert lines_of(modelopt_text([OURS])) == [line]


def test_modelopt_row_that_failed_says_what_failed_without_breaking_the_table() -> None:
    failed = {"network": "fast", "tool": "modelopt", "method": "max", "error": "ended with 1:\nno | op"}
    (line,) = lines_of(modelopt_text([failed]))
    assert line.count("|") == 9
    assert "failed: ended with 1: no / op" in line


def test_file_that_does_not_build_says_so_in_place_of_its_label() -> None:
    (line,) = lines_of(modelopt_text([{**OURS, "engine": {"error": "no importer"}}]))
    assert line.endswith("| does not build: no importer |")
    assert "0.123" in line
