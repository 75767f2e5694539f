"""Races: who runs, who is compared, who is left out."""

from __future__ import annotations

import numpy as np
import pytest

from deblurrt.core.errors import BackendError
from deblurrt.core.tensors import Array
from deblurrt.profiling.races import RaceResult, opened_late, race
from deblurrt.profiling.ratios import Ratio

VALUES = np.linspace(0, 1, 48, dtype=np.float32).reshape(1, 3, 4, 4)


def missing_one() -> Array:
    raise BackendError("no such runtime")


def test_contestants_that_agree_are_timed_against_the_first() -> None:
    result = race({"a": lambda: VALUES, "b": lambda: VALUES + np.float32(5e-5)}, rounds=3)
    assert result.reference == "a"
    assert list(result.ratios) == ["b"]
    assert result.differences["b"] == pytest.approx(5e-5, rel=0.01)
    assert (result.failures, result.missing) == ({}, {})


def test_contestant_that_differs_is_named_and_not_timed() -> None:
    result = race({"a": lambda: VALUES, "b": lambda: VALUES + np.float32(2e-4)}, rounds=1)
    assert result.ratios == {}
    assert result.failures["b"].startswith("the largest difference is 0.0002, wanted at most 0.0001")
    assert result.cell("b") == "differs"


def test_difference_is_allowed_to_grow_with_the_values() -> None:
    large = VALUES * 100
    assert race({"a": lambda: large, "b": lambda: large + np.float32(5e-3)}, rounds=1).failures == {}


def test_contestant_that_cannot_run_is_missing() -> None:
    result = race({"a": lambda: VALUES, "b": missing_one}, rounds=1)
    assert result.missing == {"b": "no such runtime"}
    assert result.cell("b") == "not measured"


def test_progress_tells_every_contestant_in_one_line() -> None:
    result = RaceResult("a", 12.4, {"b": Ratio(2.0, 1.5, 2.5)}, {}, {"c": "wrong"}, {"d": "no such runtime"})
    assert result.describe() == "a 12 ms, b 2.00x (1.50-2.50), c differs, d not measured"


def test_reference_that_cannot_run_ends_the_race() -> None:
    with pytest.raises(BackendError, match="no such runtime"):
        race({"a": missing_one}, rounds=1)


def test_everything_is_compared_with_what_is_expected() -> None:
    result = race({"a": lambda: VALUES, "b": lambda: VALUES + 1}, rounds=1, expected=VALUES + 1)
    assert list(result.failures) == ["a"]
    assert result.cell("a") == "1.00x"


def test_reference_may_overwrite_its_result() -> None:
    shared = VALUES.copy()

    def overwriting() -> Array:
        shared[...] = VALUES
        return shared

    def other() -> Array:
        shared[...] = 0
        return VALUES

    assert race({"a": overwriting, "b": other}, rounds=1).failures == {}


def test_contestant_is_opened_when_it_first_runs_and_once() -> None:
    opened: list[int] = []

    def open_contestant() -> object:
        opened.append(1)
        return lambda: VALUES

    run = opened_late(open_contestant)  # type: ignore[arg-type]
    assert opened == []
    run(), run()
    assert opened == [1]
