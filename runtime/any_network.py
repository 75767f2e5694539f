"""What the live runtime needs of a network, whether it runs in this process or in one of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..core.contract import FrameContract
from .frame import Pixels


class Network(Protocol):
    """Restores pictures; not to be used from two threads at once, but for ``cancel``."""

    @property
    def model(self) -> str:
        """Its name for reports."""

    @property
    def contract(self) -> FrameContract:
        """What it needs of frames."""

    @property
    def description(self) -> str:
        """Library, version, device, arithmetic and threads, for reports."""

    @property
    def batch_max(self) -> int | None:
        """Pictures one run takes; None for any number."""

    @property
    def lost_reason(self) -> str:
        """Why it can never restore again and must be opened anew; empty while it can."""

    def restore(self, pixels: Pixels, previous: Pixels | None = None, following: Pixels | None = None) -> Pixels:
        """Restore one picture, as ``Session.restore``."""

    def restore_batch(self, pictures: Sequence[Pixels], previous: Sequence[Pixels | None]) -> list[Pixels]:
        """Restore pictures of one size in one run, as ``Session.restore_batch``."""

    def warm_up(self, size: tuple[int, int]) -> None:
        """Compile for frames of ``size`` (height, width) and run once."""

    def cancel(self) -> bool:
        """Stop a run that another thread waits for, which raises ``BackendError``; whether that is possible."""

    def close(self) -> None:
        """Release everything; closing twice is fine."""


#: opens the networks, largest first; called again, in another thread, when one hangs or is lost
OpenNetworks = Callable[[], Sequence[Network]]
