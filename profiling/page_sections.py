"""Sections of a Markdown page that a program writes, between markers; the rest of the page is left alone."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import InputError
from ..core.outputs import write_whole


def replace_section(page: str, name: str, text: str) -> str:
    """Put ``text`` between the markers of section ``name``; at the end of a page that has none.

    >>> page = replace_section("# Speed", "zoo", "old")
    >>> page == replace_section(page, "zoo", "old")
    True

    Args:
        page: The whole page.
        name: Of the section, for its markers.
        text: What it holds from now on, without markers.

    Returns:
        The page, everything outside the markers as it was.

    Raises:
        InputError: Only one marker is there, one is there twice, or they are in the wrong order.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    counts = page.count(begin), page.count(end)
    if counts == (0, 0):
        return f"{page.rstrip()}\n\n{section}\n".lstrip()
    if counts != (1, 1) or page.index(begin) > page.index(end):
        raise InputError(f"the page has {counts[0]} times {begin} and {counts[1]} times {end}; keep one pair, in order")
    before, _, rest = page.partition(begin)
    return before + section + rest.partition(end)[2]


def write_section(path: Path, name: str, text: str) -> None:
    """Replace a section of a page on disk; a page that is not there is made.

    Raises:
        InputError: As ``replace_section``, or the page is no text.
        OutputError: The page cannot be written; what was there is untouched.
    """
    try:
        page = path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); name a Markdown page") from error
    write_whole(path, replace_section(page, name, text).encode())
