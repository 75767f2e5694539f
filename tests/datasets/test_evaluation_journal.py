"""An interrupted evaluation goes on; nothing of another one is taken over."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from deblurrt.core.errors import OutputError, SourceError
from deblurrt.datasets.evaluation import Scores
from deblurrt.datasets.evaluation_journal import EvaluationJournal

KEY: dict[str, Any] = {"model": "3f", "options": {"ensemble": None, "crop": [704, 1280]}, "data": "a1"}
FIRST = Scores(30.1234567890123, 0.9, 1 / 3, 28.0, 31.0, 0.95)
SECOND = Scores(29.0, 0.8, 2.0, 28.0, lpips=0.25)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of two frames."""
    with EvaluationJournal(tmp_path / "journal", KEY) as journal:
        journal.append("walk/0", FIRST)
        journal.append("walk/1", SECOND)
    return tmp_path / "journal"


def test_scores_come_back_exactly_and_in_order(path: Path) -> None:
    with EvaluationJournal(path, KEY) as journal:
        assert list(journal.scores.items()) == [("walk/0", FIRST), ("walk/1", SECOND)]


def test_order_of_the_key_does_not_matter(path: Path) -> None:
    with EvaluationJournal(path, dict(reversed(KEY.items()))) as journal:
        assert len(journal.scores) == 2


def test_journal_goes_on_where_it_stopped(path: Path) -> None:
    with EvaluationJournal(path, KEY) as journal:
        journal.append("walk/2", FIRST)
        assert list(journal.scores) == ["walk/0", "walk/1", "walk/2"]
    with EvaluationJournal(path, KEY) as journal:
        assert list(journal.scores) == ["walk/0", "walk/1", "walk/2"]


def test_score_is_on_disk_before_append_returns(path: Path) -> None:
    journal = EvaluationJournal(path, KEY)
    journal.append("walk/2", FIRST)
    with EvaluationJournal(path, KEY) as other:
        assert "walk/2" in other.scores
    journal.close()


@pytest.mark.parametrize("lost", [1, 2, 30])
def test_torn_last_line_is_dropped_and_written_anew(path: Path, lost: int) -> None:
    path.write_bytes(path.read_bytes()[:-lost])
    with EvaluationJournal(path, KEY) as journal:
        assert list(journal.scores) == ["walk/0"]
        journal.append("walk/1", SECOND)
    with EvaluationJournal(path, KEY) as journal:
        assert journal.scores == {"walk/0": FIRST, "walk/1": SECOND}


@pytest.mark.parametrize("key", [{**KEY, "model": "40"}, {}, {**KEY, "extra": 1}])
def test_another_key_starts_anew(path: Path, key: dict[str, Any]) -> None:
    with EvaluationJournal(path, key) as journal:
        assert journal.scores == {}
    with EvaluationJournal(path, KEY) as journal:
        assert journal.scores == {}


@pytest.mark.parametrize("content", [b"", b"not a journal\n", b'{"format": 1, "k'])
def test_file_of_something_else_starts_anew(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with EvaluationJournal(path, KEY) as journal:
        assert journal.scores == {}
        journal.append("walk/0", FIRST)
    with EvaluationJournal(path, KEY) as journal:
        assert journal.scores == {"walk/0": FIRST}


@pytest.mark.parametrize("line", [b"\x00\x00\n", b"[]\n", b'{"frame": "walk/0"}\n'])
def test_damage_before_the_end_is_named(path: Path, line: bytes) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + line + lines[2])
    with pytest.raises(SourceError, match=r"line 2 of the journal .* is damaged"):
        EvaluationJournal(path, KEY)


def test_journal_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        EvaluationJournal(tmp_path / "absent" / "journal", KEY)


def test_full_disk_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(line: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with EvaluationJournal(path, KEY) as journal:
        monkeypatch.setattr(journal, "_write", full)
        with pytest.raises(OutputError, match="disk full"):
            journal.append("walk/2", FIRST)
        assert "walk/2" not in journal.scores


def test_closing_twice_is_fine(path: Path) -> None:
    journal = EvaluationJournal(path, KEY)
    journal.close()
    journal.close()
