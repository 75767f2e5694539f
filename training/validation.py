"""The pairs a run is judged on: real ones kept out, and an exposure made of kept-out sharp frames."""

from __future__ import annotations

from ..core.pictures import read_picture
from ..datasets.motion_fields import REDS_EXPOSURE, averaged_frame, motion_field
from .material import Material
from .trainer import Validation

#: smallest side of a picture worth judging on
SMALLEST_PX = 360


def validation_pairs(material: Material) -> Validation:
    """Read the held-out pairs: name, blurred, sharp, each ``uint8 [height, width, 3]``."""
    pairs = [(pair.name, *pair.read()) for pair in material.validation]
    for clip in material.held_out_clips:
        before, frame, after = (read_picture(path) for path in clip)
        if min(frame.shape[:2]) >= SMALLEST_PX:
            field = motion_field(before, frame, after)
            blurred = averaged_frame(before, frame, after, field, REDS_EXPOSURE)
            pairs.append((f"averaged/{clip[1].parent.name}/{clip[1].stem}", blurred, frame))
    return pairs
