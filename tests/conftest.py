"""What all tests share: development data, and the table of faults written from their results."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

BEGIN, END = "<!-- fault table: begin -->", "<!-- fault table: end -->"

#: row, injection, expectation -> each test's case and what it said, in order
Rows = dict[tuple[str, str, str], list[tuple[str, str]]]
ROWS = pytest.StashKey[Rows]()


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the development data; tests that need it are marked ``data`` and skip without it."""
    root = os.environ.get("DEBLURRT_DATA")
    if not root:
        pytest.skip("DEBLURRT_DATA does not name a folder of development data")
    return Path(root)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", type=Path, help="page whose table of faults is written anew from the results")


@pytest.fixture
def fault_result(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes what a fault test measured, for the table."""

    def note(text: str) -> None:
        request.node.user_properties.append(("fault", text))

    return note


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marker = item.get_closest_marker("fault")
    if marker is not None and (report.when == "call" or report.outcome != "passed"):
        rows = item.config.stash.setdefault(ROWS, {})
        case = getattr(item, "callspec", None)
        rows.setdefault(marker.args, []).append((case.id if case else "", _outcome(item, report)))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    page: Path | None = session.config.getoption("--fault-table")
    rows = session.config.stash.get(ROWS, {})
    if page is None or not rows:
        return
    lines = ["| | injected | expected | result |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} | {_summary(said)} |" for row, said in sorted(rows.items(), key=_row_key)]
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text("\n".join([before + BEGIN, *lines, END + after]))


def _outcome(item: pytest.Item, report: pytest.TestReport) -> str:
    """What a test said, and why it was skipped or failed."""
    said = [str(text) for name, text in item.user_properties if name == "fault"]
    if report.passed and said:
        return said[-1]
    if report.skipped and isinstance(report.longrepr, tuple):
        return f"skipped: {report.longrepr[2].removeprefix('Skipped: ')}"
    return report.outcome


def _row_key(item: tuple[tuple[str, str, str], list[tuple[str, str]]]) -> tuple[str, int, str]:
    row, injected, _ = item[0]
    return row[0], int(row[1:]), injected


def _summary(said: list[tuple[str, str]]) -> str:
    """One line of what the cases of a row said; only their number where all passed and measured nothing."""
    outcomes = {outcome for _, outcome in said}
    if len(outcomes) == 1 and (outcomes == {"passed"} or len(said) > 1):
        return outcomes.pop() + ("" if len(said) == 1 else f", {len(said)} cases")
    return "; ".join(f"{case}: {outcome}" if case else outcome for case, outcome in said)
