"""How global pools become local ones; needs no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..core.errors import UsageError

SIZES = re.compile(r"([0-9]+(?:x[0-9]+)?):([0-9]+(?:x[0-9]+)?)")


@dataclass(frozen=True, slots=True)
class TlscConfig:
    """Sizes that fix the window of every pool, pixels of the network's input.

    Attributes:
        train_size: Height and width of the crops the network was trained on.
        base_size: Height and width of the window.
        fast: Whether the authors' approximation is used; not equivalent, off in all published results.

    Raises:
        UsageError: A side is not positive.
    """

    train_size: tuple[int, int]
    base_size: tuple[int, int]
    fast: bool = False

    def __post_init__(self) -> None:
        if min(*self.train_size, *self.base_size) < 1:
            raise UsageError(f"TLSC sizes are {self.train_size} and {self.base_size}, expected pixels from 1")


def parse_tlsc(text: str) -> TlscConfig:
    """Read ``TRAIN:BASE``, each one side or ``HEIGHTxWIDTH``.

    >>> parse_tlsc("64:96").base_size
    (96, 96)

    Raises:
        UsageError: The text has another form, or a side is zero.
    """
    match = SIZES.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is no TRAIN:BASE; expected sides such as 256:384 (MPRNet) or 64:96 (MPRNet-SR)")
    return TlscConfig(_size(match[1]), _size(match[2]))


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width or height)
