"""What a run is judged on: real pairs kept out, an exposure of kept-out sharp frames, and the gain."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ..core.pictures import read_picture
from ..datasets.motion_fields import REDS_EXPOSURE, averaged_frame, motion_field
from ..models.student import Student
from .material import Material

Pixels = NDArray[np.uint8]
#: name, blurred, sharp
Validation = list[tuple[str, Pixels, Pixels]]

#: smallest side of a picture worth judging on
SMALLEST_PX = 360
#: below one grey level in a whole 4K picture: two equal pictures count as this far apart
SMALLEST_MSE = 1e-8


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


def gain_db(network: Student, blurred: Pixels, sharp: Pixels) -> float:
    """PSNR of the restored 8-bit picture minus that of the blurred one, dB."""
    device = next(network.parameters()).device
    tensor = torch.from_numpy(blurred).permute(2, 0, 1)[None].to(device).float() / 255
    height, width = tensor.shape[2:]
    multiple = network.config.multiple
    padded = functional.pad(tensor, (0, -width % multiple, 0, -height % multiple), mode="reflect")
    padded = padded.contiguous(memory_format=torch.channels_last)
    restored = network(padded)[0, :, :height, :width].clamp(0, 1).mul(255).round()
    truth = torch.from_numpy(sharp).permute(2, 0, 1).to(device).float()
    before = max(float(((tensor[0] * 255 - truth) ** 2).mean()), SMALLEST_MSE)
    after = max(float(((restored - truth) ** 2).mean()), SMALLEST_MSE)
    return round(float(10 * np.log10(before / after)), 4)
