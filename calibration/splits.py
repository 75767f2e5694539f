"""Which part of a data set frames belong to: those of a validation or test split are not to be calibrated on."""

from __future__ import annotations

import re
from pathlib import Path

from ..datasets.layouts import root_nearby

#: folders of a data set that hold what it is scored on: ``val``, ``test_blur``
HELD_BACK = re.compile(r"(val|test)(?:_.*)?")
#: names of folders that say so wherever they lie
PLAIN_NAMES = frozenset({"val", "valid", "validation", "test"})


def held_back_split(place: Path) -> str | None:
    """Say which split a folder, picture or video lies in, if it is one for validation or tests; None otherwise."""
    whole = place.resolve()
    if not whole.is_dir():
        whole = whole.parent
    named = next((part for part in whole.parts[-2:] if part.lower() in PLAIN_NAMES), None)
    if named is not None:
        return named.lower()
    found = root_nearby(whole)
    if found is None or not found[0].splits or not whole.is_relative_to(found[1].resolve()):
        return None
    first = whole.relative_to(found[1].resolve()).parts[:1]
    split = HELD_BACK.fullmatch(first[0]) if first else None
    return split[1] if split else None
