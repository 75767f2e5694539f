"""Rows of a table that are measured once and kept, so that an interrupted run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import DeblurrtError
from ..core.outputs import write_whole

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """Where things are, and what is measured.

    Attributes:
        data: Development data.
        work: Files and rows.
        tell: Told what begins.
        is_closed: Whether nothing is measured any more.
        networks: Networks that alone are measured; empty: all.
    """

    data: Path
    work: Path
    tell: Callable[[str], None]
    is_closed: bool = False
    networks: tuple[str, ...] = ()

    def row(self, name: str, measure: Callable[[], Row]) -> Row:
        """Measure a row, or take the one of an earlier run; what fails on purpose is a row as well.

        Args:
            name: The table, the network, what else tells the row from others; apart by spaces.
            measure: Gives the row.

        Returns:
            The row; empty where there is none and it is not to be measured.
        """
        network = name.split()[1]
        place = self.work / f"{name.replace('/', '_').replace(' ', '_')}.json"
        is_wanted = not self.is_closed and (not self.networks or network in self.networks)
        if not place.is_file() and not is_wanted:
            return {}
        if not place.is_file():
            self.tell(name)
            try:
                found = measure()
            except DeblurrtError as error:
                found = {"network": network, "error": str(error)}
            write_whole(place, json.dumps(found, indent=2).encode())
        row: Row = json.loads(place.read_text())
        return row
