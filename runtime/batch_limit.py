"""How many frames a backend takes at once."""

from __future__ import annotations

from typing import Protocol, cast

from .backend import Backend


class BatchBackend(Backend, Protocol):
    """A backend whose model takes several frames at once, and which knows how many."""

    @property
    def batch_max(self) -> int | None:
        """Frames one run takes; None for any number."""


def batch_max_of(backend: Backend) -> int | None:
    """Frames one run takes; None for any number."""
    count = backend.inputs[0].shape[0]
    if isinstance(count, int):
        return count
    return cast("BatchBackend", backend).batch_max if hasattr(backend, "batch_max") else None
