"""Motion blur from real motion: frames of a sharp video averaged, and their flow on other pictures.

Both follow measured optical flow in both directions from the middle frame, so that paths bend and
depth edges slide as they do in the recording.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import opencv
from .linear_light import code_from_linear, linear_from_code

Pixels = NDArray[np.uint8]
Light = NDArray[np.float32]

#: share of the frame interval the shutter of REDS seems to be open, as fitted on real pairs
REDS_EXPOSURE = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class MotionField:
    """Where each pixel of a frame comes from and goes to.

    Attributes:
        ahead: ``float [height, width, 2]``, movement (x, y) in pixels to the next frame.
        behind: The same to the frame before.
    """

    ahead: NDArray[np.floating]
    behind: NDArray[np.floating]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.ahead.shape[0], self.ahead.shape[1]


def motion_field(before: Pixels, frame: Pixels, after: Pixels) -> MotionField:
    """Measure the motion through ``frame``; stored as float16, exact to 1/32 px at 64 px."""
    ahead = opencv.dense_flow(frame, after).astype(np.float16)
    return MotionField(ahead, opencv.dense_flow(frame, before).astype(np.float16))


def _grid(size: tuple[int, int]) -> tuple[Light, Light]:
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    return columns, rows


def averaged_frame(before: Pixels, frame: Pixels, after: Pixels, field: MotionField, exposure: float) -> Pixels:
    """Blur ``frame`` as if the shutter had been open for ``exposure`` frame intervals around it.

    Moments between two frames are blended from both, each moved along the flow.

    Args:
        before: The sharp frame before, ``uint8 [height, width, 3]``.
        frame: The frame in the middle.
        after: The sharp frame after.
        field: ``motion_field`` of the three.
        exposure: 0..2; REDS looks like about ``REDS_EXPOSURE``.
    """
    lights = [linear_from_code(pixels) for pixels in (before, frame, after)]
    columns, rows = _grid(field.size)
    longest = max(float(np.percentile(np.abs(flow), 95)) for flow in (field.ahead, field.behind))
    count = int(np.clip(longest * exposure, 9, 33)) | 1
    total = np.zeros_like(lights[1])
    for time in np.linspace(-exposure / 2, exposure / 2, count):
        flow = (field.ahead if time >= 0 else field.behind).astype(np.float32)
        reached, neighbour = np.float32(abs(time)), lights[2] if time >= 0 else lights[0]
        here = opencv.sample_at(lights[1], columns - reached * flow[..., 0], rows - reached * flow[..., 1])
        rest = 1 - reached
        there = opencv.sample_at(neighbour, columns + rest * flow[..., 0], rows + rest * flow[..., 1])
        total += rest * here + reached * there
    return code_from_linear(total / np.float32(count))


def transplant(crop: Pixels, field: MotionField, exposure: float) -> Pixels:
    """Blur ``crop`` with the motion of another recording.

    Args:
        crop: ``uint8 [height, width, 3]``, the sharp picture.
        field: Motion of the same size, in pixels of ``crop``.
        exposure: Frame intervals the shutter is open.
    """
    light = linear_from_code(crop)
    columns, rows = _grid(field.size)
    longest = max(float(np.percentile(np.abs(flow), 98)) for flow in (field.ahead, field.behind))
    count = int(np.clip(longest * exposure, 9, 33)) | 1
    total = np.zeros_like(light)
    for time in np.linspace(-exposure / 2, exposure / 2, count):
        flow = (field.ahead if time >= 0 else field.behind).astype(np.float32)
        reached = np.float32(abs(time))
        total += opencv.sample_at(light, columns - reached * flow[..., 0], rows - reached * flow[..., 1])
    return code_from_linear(total / np.float32(count))


#: motion slower than this (median, px per frame) teaches nothing once scaled up: it is mostly noise
SLOWEST_PX = 1.0
FIELD_TRIES = 5


def random_field(fields: list[MotionField], side_px: int, rng: np.random.Generator) -> MotionField:
    """Cut, turn and scale a square of one of ``fields`` so that its typical path is 2 to 40 px long.

    Squares that hardly move are drawn again a few times.
    """
    for _ in range(FIELD_TRIES):
        ahead, behind = _random_square(fields[int(rng.integers(0, len(fields)))], side_px, rng)
        typical = float(np.median(np.hypot(ahead[..., 0], ahead[..., 1])))
        if typical >= SLOWEST_PX:
            break
    wanted = float(np.exp(rng.uniform(np.log(2), np.log(40)))) / REDS_EXPOSURE
    gain = np.float32(np.clip(wanted / (typical + 1e-3), 0.2, 4.0))
    quarters, flip = int(rng.integers(0, 4)), int(rng.integers(0, 2))
    return MotionField(*(_turn(flow * gain, quarters, flip) for flow in (ahead, behind)))


def _random_square(field: MotionField, side_px: int, rng: np.random.Generator) -> list[Light]:
    side = min(int(side_px / rng.uniform(0.6, 1.6)), *field.size)
    row = int(rng.integers(0, field.size[0] - side + 1))
    column = int(rng.integers(0, field.size[1] - side + 1))
    window = (slice(row, row + side), slice(column, column + side))
    return [opencv.enlarge(flow[window].astype(np.float32), (side_px, side_px)) for flow in (field.ahead, field.behind)]


def _turn(flow: Light, quarters: int, flip: int) -> Light:
    """Rotate by quarter turns and mirror, the vectors with the picture."""
    for _ in range(quarters):
        flow = np.rot90(flow)
        flow = np.stack([flow[..., 1], -flow[..., 0]], axis=-1)
    if flip:
        flow = flow[:, ::-1] * np.array([-1, 1], np.float32)
    return np.ascontiguousarray(flow, np.float32)
