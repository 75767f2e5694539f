"""Replacing one section of a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from deblurrt.core.errors import InputError
from deblurrt.profiling.page_sections import replace_section, write_section

BEGIN, END = "<!-- zoo: begin -->", "<!-- zoo: end -->"
PAGE = f"# Speed\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nbehind\n"


def test_everything_outside_the_markers_stays() -> None:
    assert replace_section(PAGE, "zoo", "new\n") == PAGE.replace("old", "new")


def test_section_is_added_behind_a_page_without_one() -> None:
    assert replace_section("# Speed\n", "zoo", "new") == f"# Speed\n\n{BEGIN}\nnew\n{END}\n"


def test_sections_of_other_programs_stay() -> None:
    other = PAGE.replace("zoo", "other")
    assert replace_section(other + PAGE, "zoo", "new").startswith(other)


@pytest.mark.parametrize("page", [BEGIN, END, f"{END}\n{BEGIN}", PAGE + PAGE], ids=["begin", "end", "turned", "twice"])
def test_damaged_markers_are_refused(page: str) -> None:
    with pytest.raises(InputError, match="keep one pair"):
        replace_section(page, "zoo", "new")


def test_section_is_written_to_a_new_and_to_an_old_page(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    for text in ("first", "second"):
        write_section(path, "zoo", text)
        assert path.read_text() == f"{BEGIN}\n{text}\n{END}\n"


def test_page_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match=r"picture\.png cannot be read"):
        write_section(path, "zoo", "new")
