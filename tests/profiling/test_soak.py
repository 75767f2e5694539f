from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deblurrt.profiling import soak as soak_module
from deblurrt.profiling.soak import HEADER, MISSED, Held, Soak, SoakConfig, main, soak

#: 22 s say little of a slope: what is looked for is a leak of pictures, each of 0.7 MiB here
SHORT_SLOPE_MAX_MIB = 200.0

SUMMARY: dict[str, Any] = {"captured": 10_000, "states": {"deblurred": 9_000}, "imbalances": [], "incomplete": None}


def looks(slope_mib: float, count: int = 50) -> list[Held]:
    """Memory that jumps at the beginning and then grows by a slope."""
    frames = [10_000 * place // (count - 1) for place in range(count)]
    return [Held(at, 100.0 if at < 1000 else 300.0 + slope_mib * at / 10_000, 10, 8, 0) for at in frames]


def result(slope_mib: float = 0.0, after: Held | None = None, **changes: Any) -> Soak:
    before = Held(0, 200.0, 10, 8, 1)
    return Soak(SoakConfig(), before, after or before, looks(slope_mib), SUMMARY | changes, 12.0, 34)


@pytest.mark.parametrize("slope_mib", [-5.0, 0.0, 0.9])
def test_run_that_keeps_its_size_is_fine(slope_mib: float) -> None:
    assert result(slope_mib).slope_mib == pytest.approx(slope_mib, abs=1e-6)
    assert result(slope_mib).misses() == []


@pytest.mark.parametrize(
    ("missed", "told"),
    [
        (result(1.5), "memory grows by 1.50 MiB per 10,000 frames, at most 1 wanted"),
        (result(after=Held(0, 200.0, 11, 8, 1)), "files: 10 before, 11 after"),
        (result(after=Held(0, 200.0, 10, 9, 1)), "threads: 8 before, 9 after"),
        (result(after=Held(0, 200.0, 10, 8, 2)), "shared: 1 before, 2 after"),
        (result(imbalances=["cam: 3 frames captured, 2 ended"]), "cam: 3 frames captured, 2 ended"),
        (result(incomplete="disk full"), "disk full"),
    ],
)
def test_what_is_missed_is_named(missed: Soak, told: str) -> None:
    assert missed.misses() == [told]
    assert told in missed.to_line()


def test_line_has_a_cell_for_every_column() -> None:
    assert result().to_line().count("|") == HEADER.splitlines()[0].count("|")


@pytest.mark.parametrize(("slope_mib", "code"), [(0.0, 0), (2.0, MISSED)])
def test_page_gets_the_table_and_a_miss_ends_with_3(
    slope_mib: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SoakConfig] = []

    def instead(config: SoakConfig) -> Soak:
        asked.append(config)
        return result(slope_mib)

    monkeypatch.setattr(soak_module, "soak", instead)
    page = tmp_path / "page.md"
    assert main(["--minutes", "2", "--size", "48x64", "--speed", "4", "--write", str(page)]) == code
    assert asked == [SoakConfig(2.0, 30.0, (48, 64), 4.0)]
    assert result(slope_mib).to_line() in page.read_text()


@pytest.mark.full
@pytest.mark.fault(
    "R2", "22 s at four times the speed, 360x640, all outputs at once", "nothing grows (the long run is below)"
)
def test_short_run_gives_back_what_it_took(fault_result: Callable[[str], None]) -> None:
    done = soak(SoakConfig(minutes=1.5, size=(360, 640), speed=4.0))
    assert done.misses(SHORT_SLOPE_MAX_MIB) == []
    assert done.summary["captured"] >= 1000
    assert done.seen > 0
    assert done.recorded_mib > 0
    assert done.summary["sinks"]["slow"]["skipped"] > 300
    fault_result(
        f"{done.summary['captured']} frames: {done.slope_mib:+.1f} MiB per 10,000; files {done.before.files} → "
        f"{done.after.files}, threads {done.before.threads} → {done.after.threads}"
    )
