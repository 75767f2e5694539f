"""Speed as a ratio within one run: what is compared runs in turn, and each round gives one ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast something is as the reference.

    Attributes:
        median: Of the rounds' ratios; above one is faster than the reference.
        least: Smallest of them.
        most: Largest of them.
    """

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        """As in ``1.52x (1.48-1.60)``; from 100 on without decimals."""
        digits = 0 if self.median >= 100 else 2
        return f"{self.median:.{digits}f}x ({self.least:.{digits}f}-{self.most:.{digits}f})"

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return asdict(self)


def ratio_of(reference_s: Sequence[float], other_s: Sequence[float]) -> Ratio:
    """Divide the times of the reference by those of another contestant, round by round.

    >>> str(ratio_of([2.0, 10.0, 9.0], [1.0, 2.0, 3.0]))
    '3.00x (2.00-5.00)'

    Args:
        reference_s: Seconds of each round.
        other_s: Seconds of the same rounds.

    Raises:
        UsageError: There is no round, or their numbers differ.
    """
    if not reference_s or len(reference_s) != len(other_s):
        raise UsageError(f"there are {len(reference_s)} and {len(other_s)} rounds; give as many of both, one at least")
    ratios = [reference / other for reference, other in zip(reference_s, other_s, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def times_in_turn(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Let every contestant run once per round, A B C A B C.

    Args:
        contestants: Already warm; what they return is dropped.
        rounds: From 1.

    Returns:
        Seconds of every contestant, round by round.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            started = time.perf_counter()
            contestant()
            times[name].append(time.perf_counter() - started)
    return times


def median_ms(seconds: Sequence[float]) -> float:
    """Median in milliseconds."""
    return 1e3 * statistics.median(seconds)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Write a table; cells stand as ``str`` gives them, a final newline included.

    Raises:
        UsageError: A row has another number of cells than there are columns.
    """
    for row in rows:
        if len(row) != len(columns):
            raise UsageError(f"the row {list(row)} has {len(row)} cells, the table {len(columns)} columns")
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)
