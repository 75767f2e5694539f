"""The ledger as a file: JSON Lines, one per captured frame."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ..core.errors import OutputError
from ..core.outputs import check_output, output_error

#: how long the last lines may take to reach the disk
CLOSE_S = 5.0
#: lines that may wait for a disk that stands still: an hour of a camera, some 50 MB
WAITING_MAX = 100_000


class LedgerFile:
    """Writes lines in a thread of its own, so that a slow disk delays no frame.

    Lines are on their way to the disk at once, so that a killed process leaves them readable.

    Args:
        path: Place of the file.
        force: Whether an existing file is replaced.

    Attributes:
        error: Why writing ended early; None where it did not.

    Raises:
        OutputError: The file exists already, or cannot be made.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        check_output(path, force=force)
        self.path = path
        self.error: OutputError | None = None
        self._lines: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        try:
            self._file = path.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise output_error(path, error) from error
        self._thread = threading.Thread(target=self._write_all, name="ledger", daemon=True)
        self._thread.start()

    def write(self, line: dict[str, Any]) -> None:
        """Take one line; never waits."""
        if self.error is not None:
            return
        self._lines.put(line)
        if self._lines.qsize() >= WAITING_MAX:
            self.error = OutputError(f"{self.path} ends early: {WAITING_MAX} lines wait for the disk")

    def close(self) -> None:
        """Write what is left; closing twice is fine."""
        self._lines.put(None)
        self._thread.join(CLOSE_S)
        if self._thread.is_alive() and self.error is None:
            self.error = OutputError(f"the last lines of {self.path} did not reach the disk within {CLOSE_S:.0f} s")

    def _write_all(self) -> None:
        try:
            with self._file:
                while (line := self._lines.get()) is not None:
                    self._file.write(json.dumps(line) + "\n")
        except OSError as error:
            self.error = output_error(self.path, error)
