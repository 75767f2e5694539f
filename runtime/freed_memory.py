"""Freed memory, given back to the operating system."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress


def give_back_memory() -> None:
    """Collect what only refers to itself, and have the C library return what is free, where it can (glibc).

    For when something large has ended in a program that goes on: encoders free what they took in the memory of
    many threads, where it would stay. Takes milliseconds.
    """
    gc.collect()
    # another C library has no such function; Windows has no library of the program itself
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
