"""Where files lie that can always be made again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from .errors import OutputError

CacheKind = Literal["eval", "onnx", "engines", "plugins"]


def cache_folder(kind: CacheKind) -> Path:
    """Make and return ``$XDG_CACHE_HOME/deblurrt/KIND`` (``~/.cache`` where that is not set).

    Raises:
        OutputError: It cannot be made.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    # the base directory specification has relative paths ignored
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    folder = root / "deblurrt" / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"no cache at {folder} ({error.strerror}); set XDG_CACHE_HOME to a folder you own") from error
    return folder
