"""The arithmetic of ratios and the form of tables; speeds are never asserted."""

from __future__ import annotations

import pytest

from deblurrt.core.errors import UsageError
from deblurrt.profiling.ratios import Ratio, markdown_table, median_ms, ratio_of, times_in_turn


def test_ratio_is_the_median_of_the_rounds_own_ratios_with_its_spread() -> None:
    assert ratio_of([2.0, 10.0, 9.0], [1.0, 2.0, 3.0]) == Ratio(median=3.0, least=2.0, most=5.0)


@pytest.mark.parametrize(("reference", "other"), [([], []), ([1.0], [1.0, 2.0])])
def test_ratio_needs_the_same_rounds_of_both(reference: list[float], other: list[float]) -> None:
    with pytest.raises(UsageError, match="rounds"):
        ratio_of(reference, other)


def test_ratio_is_written_with_its_spread() -> None:
    assert str(Ratio(1.517, 1.4, 1.61)) == "1.52x (1.40-1.61)"
    assert str(Ratio(151.7, 140.2, 160.6)) == "152x (140-161)"


def test_contestants_take_turns() -> None:
    order: list[str] = []
    times = times_in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == ["a", "b", "a", "b"]
    assert [len(seconds) for seconds in times.values()] == [2, 2]


def test_median_is_given_in_milliseconds() -> None:
    assert median_ms([0.001, 0.5, 0.003]) == pytest.approx(3.0)


def test_table_is_markdown() -> None:
    assert (
        markdown_table(["network", "ratio"], [("`fast`", 2)]) == "| network | ratio |\n| --- | --- |\n| `fast` | 2 |\n"
    )


def test_table_refuses_a_row_of_another_length() -> None:
    with pytest.raises(UsageError, match="1 cells, the table 2 columns"):
        markdown_table(["network", "ratio"], [("fast",)])
