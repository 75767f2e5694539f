"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the development data; tests that need it are marked ``data`` and skip without it."""
    root = os.environ.get("DEBLURRT_DATA")
    if not root:
        pytest.skip("DEBLURRT_DATA does not name a folder of development data")
    return Path(root)
