"""The whole program on one small network; speeds are never asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from deblurrt.core.errors import MissingExtraError, QualityError, UsageError
from deblurrt.models.network import DeblurNetwork
from deblurrt.models.zoo import create_model
from deblurrt.profiling import network_race, zoo_benchmark
from deblurrt.profiling.network_race import EAGER, FOLDED, NetworkResult
from deblurrt.profiling.pool_race import pool_results
from deblurrt.profiling.races import RacePlan, RaceResult
from deblurrt.profiling.ratios import Ratio
from deblurrt.profiling.zoo_benchmark import command, measured
from deblurrt.profiling.zoo_section import Results, section
from deblurrt.profiling.zoo_variants import Variant
from tests.models.small_zoo import SMALL

TWICE = Ratio(2.0, 1.5, 2.5)
RACE = RaceResult(EAGER, 123.4, {"ONNX Runtime": TWICE}, {}, missing={"OpenVINO": "not installed"})


def section_of(results: Results) -> str:
    return section(results, RacePlan(Path(), seconds=2.5), "the command")


def test_table_has_a_line_per_network_and_says_what_is_missing() -> None:
    lines = section_of(Results([NetworkResult("eacd", (72, 128), RACE)])).splitlines()
    start = lines.index("| network | size | PyTorch eager, ms | ONNX Runtime | OpenVINO |")
    assert lines[start + 2] == "| `eacd` | 72x128 | 123 | 2.00x (1.50-2.50) | not measured |"
    assert lines[-1] == "- eacd, OpenVINO: not installed"


def test_section_names_the_command_and_the_most_seconds() -> None:
    text = section_of(Results([NetworkResult("eacd", (72, 128), RACE)]))
    assert "`the command`" in text
    assert "about 2.5 s at most" in text


def test_gain_of_folding_in_pytorch_stands_below_the_table() -> None:
    race = RaceResult(EAGER, 123.4, {FOLDED: TWICE, "ONNX Runtime": TWICE, "OpenVINO": TWICE}, {})
    assert "against itself: `edpn_sr` 2.00x" in section_of(Results([NetworkResult("edpn_sr", (28, 48), race)]))


def test_part_that_failed_is_named_and_the_others_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def result_of(variant: Variant, plan: RacePlan) -> NetworkResult:
        if variant.model == "eacd":
            raise QualityError("it changes the result")
        return NetworkResult(variant.label, (8, 8), RACE)

    monkeypatch.setattr(zoo_benchmark, "network_result", result_of)
    results = measured(RacePlan(tmp_path), ("eacd", "carlo_net"))
    assert [result.label for result in results.networks] == ["carlo_net"]
    assert results.errors == {"eacd": "it changes the result"}
    assert "- eacd: it changes the result" in section_of(results)


def test_missing_package_ends_the_run_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(zoo_benchmark, "NEEDED", ("no_such_package",))
    with pytest.raises(MissingExtraError, match="no_such_package is needed to compare the runtimes"):
        measured(RacePlan(tmp_path))


def test_part_does_not_replace_the_whole_section(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--only measures a part"):
        run("--only", "eacd", "--output", str(tmp_path / "page.md"))


def run(*options: str) -> str:
    done = CliRunner().invoke(command, options, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(variant: Variant) -> DeblurNetwork:
        return create_model(variant.model, **SMALL[variant.model])

    monkeypatch.setattr(network_race, "made_network", small)


@pytest.mark.usefixtures("small_network")
def test_small_network_goes_from_export_to_json(tmp_path: Path) -> None:
    options = ["--only", "carlo_net", "--rounds", "2", "--seconds", "0.001"]
    (row,) = json.loads(run(*options, "--json", "-"))["networks"]
    assert (row["network"], row["size"]) == ("carlo_net", [21, 32])
    assert set(row["ratios"]) == {"ONNX Runtime", "OpenVINO"}
    assert max(row["differences"].values()) < 1e-4
    assert row["failures"] == {} == row["missing"]


def test_every_form_of_the_pool_is_the_same_pool(tmp_path: Path) -> None:
    for result in pool_results(RacePlan(tmp_path, rounds=1), (1, 2, 9, 14), (4, 7)):
        assert (result.race.failures, result.race.missing) == ({}, {})
        assert len(result.race.differences) == 3
