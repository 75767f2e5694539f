"""Where a file's weights and scales come from, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: what a quantised file says of its calibration, told in a row of its own
CALIBRATION = "calibration"


def weights_told(provenance: Mapping[str, Any]) -> str:
    """Everything provenance says but the calibration; empty where it says nothing."""
    rest = ((name, value) for name, value in provenance.items() if not name.startswith(CALIBRATION))
    return ", ".join(f"{name} {value}" for name, value in rest)


def calibration_told(provenance: Mapping[str, Any]) -> str | None:
    """How a file was calibrated: frames, their hash, method, target, loss; None where it was not."""
    found = provenance.get(CALIBRATION)
    if not isinstance(found, dict):
        return None
    frames = found.get("frames")
    count = len(frames) if isinstance(frames, list) else 0
    parts = [f"{count} frames {str(found.get('frames_sha256', ''))[:12]}"]
    parts += [f"{name} {found[name]}" for name in ("format", "method", "target", "rest") if name in found]
    if "lost_db" in found:
        parts.append(f"{found['lost_db']} dB lost when it was made")
    if found.get("test_split"):
        parts.append(f"FRAMES OF THE {found['test_split']} SPLIT")
    return ", ".join(parts)
