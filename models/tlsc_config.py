"""How global pools become local ones; needs no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..core.errors import UsageError


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
        UsageError: The text has another form.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?:(\d+)(?:x(\d+))?", text)
    if match is None:
        raise UsageError(f"{text!r} is no TRAIN:BASE; expected sides such as 256:384 (MPRNet) or 64:96 (MPRNet-SR)")
    height, width, tall, wide = (int(side) if side else None for side in match.groups())
    assert height is not None
    assert tall is not None
    return TlscConfig((height, width or height), (tall, wide or tall))
