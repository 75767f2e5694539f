"""A journal of scored frames, so that an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from ..core.errors import SourceError
from ..core.outputs import output_error
from .evaluation import Scores

#: raised whenever the lines change their form, so that older journals start anew
FORMAT = 1


class EvaluationJournal:
    """Keeps scores on disk, a line of JSON for each frame as soon as it is scored.

    The first line holds the key. A journal of the same key goes on, its scores are in ``scores``;
    one of another key, or of none, starts anew. An interruption loses the frame being written at
    the most.

    Args:
        path: The file; its folder exists.
        key: What the scores depend on: hash of the model, options, ``Dataset.fingerprint``.
            Plain JSON values.

    Attributes:
        scores: By name of the frame, in the order in which they were scored.

    Raises:
        SourceError: The file is damaged other than at its end.
        OutputError: The file cannot be written.

    Example:
        >>> with EvaluationJournal(path, {"model": digest, "data": dataset.fingerprint()}) as journal:
        ...     for sequence in dataset:
        ...         for one in score_pairs(session.restore, sequence.without(journal.scores)):
        ...             journal.append(one.pair.name, one.scores)
    """

    def __init__(self, path: Path, key: Mapping[str, Any]) -> None:
        self.path = path
        self.scores: dict[str, Scores] = {}
        header = _line({"format": FORMAT, "key": dict(key)})
        try:
            whole = self._read(header)
            self._file = path.open("r+b" if whole else "w+b")
            self._file.truncate(whole)
            self._file.seek(whole)
            if not whole:
                self._write(header)
        except OSError as error:
            raise output_error(path, error) from error

    def append(self, name: str, scores: Scores) -> None:
        """Keep the scores of one frame; they are with the operating system before this returns.

        Raises:
            OutputError: The disk is full.
        """
        try:
            self._write(_line({"frame": name, **asdict(scores)}))
        except OSError as error:
            raise output_error(self.path, error) from error
        self.scores[name] = scores

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        self._file.close()

    def __enter__(self) -> EvaluationJournal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, header: bytes) -> int:
        """Take over the scores of a journal of the same key; return the bytes of its whole lines."""
        content = self.path.read_bytes() if self.path.exists() else b""
        if not content.startswith(header):
            return 0
        whole = content.rfind(b"\n") + 1
        lines = content[len(header) : whole].splitlines()
        for number, line in enumerate(lines, start=2):
            try:
                name, scores = _scores_of(line)
            except (ValueError, KeyError, TypeError) as error:
                raise SourceError(
                    f"line {number} of the journal {self.path} is damaged ({error}); remove the file to start anew"
                ) from error
            self.scores[name] = scores
        return whole

    def _write(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True).encode() + b"\n"


def _scores_of(line: bytes) -> tuple[str, Scores]:
    values = json.loads(line)
    return str(values["frame"]), Scores(*(values[field.name] for field in fields(Scores)))
