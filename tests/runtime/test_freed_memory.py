"""Freed memory goes back to the operating system."""

from __future__ import annotations

import ctypes
import weakref

import pytest

from deblurrt.runtime.freed_memory import give_back_memory


class Ring:
    """Refers to itself."""

    def __init__(self) -> None:
        self.own = self


def test_what_refers_only_to_itself_ends() -> None:
    ring = weakref.ref(Ring())
    give_back_memory()
    assert ring() is None


def test_other_c_libraries_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_name: None) -> None:
        raise OSError("no library of that name")

    for library in (lambda _name: object(), refuse):
        monkeypatch.setattr(ctypes, "CDLL", library)
        give_back_memory()
