"""Opening the networks of a live run, in this process or in one of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..core.artifacts import sha256_of
from ..runtime.run_facts import hash_of_model
from ..runtime.session import Session, SessionConfig
from .opening import ModelChoice, is_network, open_model


def open_ladder(models: Sequence[ModelChoice], config: SessionConfig) -> list[Session]:
    """Open models, largest first.

    Raises:
        UsageError: Options do not go with a model.
        ModelFileError: There is no such model, or its file or checkpoint is unfit.
        MachineError: A package or device is missing.
    """
    return [open_model(model, config).session for model in models]


def hash_of_choice(choice: ModelChoice) -> str | None:
    """SHA-256 of a model's file, or of a network's checkpoint; None where there is neither."""
    if is_network(choice.model):
        return None if choice.checkpoint is None else sha256_of([choice.checkpoint])
    return hash_of_model(choice.model)


def settings_of(config: SessionConfig) -> dict[str, Any]:
    """What was asked for of the backend, plain values."""
    tile = None if config.tile is None else asdict(config.tile)
    return {"backend": config.backend, **asdict(config.options), "tile": tile}
