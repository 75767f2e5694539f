"""A clip with its truth from one still photograph, filmed by a camera that nobody holds quite still.

The camera looks at a part of the photograph and pans, tilts, rolls and zooms along a smooth, bounded
path. Each frame is the average, in linear light, of what it sees while the shutter is open; its
sharp twin is what it sees at mid-exposure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ContractError
from . import opencv
from .linear_light import code_from_linear, linear_from_code
from .motion_blur import CameraMotion

Pixels = NDArray[np.uint8]
Light = NDArray[np.float32]
Plane = NDArray[np.float64]

#: how far the camera turns and zooms either way; the rest of the margin is left to pan and tilt
ROLL_RAD = math.radians(0.8)
ZOOM = 0.012
#: about the view of a telephone's main camera, as a multiple of the view's width
FOCAL_WIDTHS = 1.4
#: a wider swing would need so slow a movement that no path bends
LARGEST_SWING_PX = 64.0
#: with less room to pan and tilt the picture hardly moves
SMALLEST_SWING_PX = 8.0
#: mean speed of the picture: 11 px while the shutter is open for 0.8 of 1/30 s, mostly 4 to 18 px
SPEED_PX_S = 400.0
#: how much calm and hasty moments differ from the mean speed, as a share of it
HASTE = 0.45
#: fewest and most moments averaged per exposure: steps of about a pixel
MOMENTS = (9, 65)
#: an axis of the path is a sum of sinusoids: their relative frequencies, and shares that sum to one
TONES = (1.0, 1.73, 2.61)
TONE_SHARES = (0.72, 0.21, 0.07)
#: rate of change between calm and haste, relative to the first tone
HASTE_TONE = 0.31
#: length of path over which its mean speed is measured
SAMPLED_S = 1000


@dataclass(frozen=True, slots=True)
class VirtualCamera:
    """A hand-held camera in front of a photograph, sampled about one to one.

    Attributes:
        size: Height and width of its frames, pixels.
        frame_rate: Frames per second; the fewer, the longer the shutter is open and the blur.
        exposure: Share of the frame interval the shutter is open, above 0 to 1.
        seed: Decides the path.

    Raises:
        ContractError: A value is impossible.
    """

    size: tuple[int, int] = (360, 640)
    frame_rate: float = 30.0
    exposure: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what no camera can do."""
        if min(self.size) < 1:
            raise ContractError(f"size is {self.size[0]}x{self.size[1]}, expected at least 1x1 pixels")
        if not self.frame_rate > 0:
            raise ContractError(f"frame_rate is {self.frame_rate}, expected frames per second above 0")
        if not 0 < self.exposure <= 1:
            raise ContractError(f"exposure is {self.exposure}, expected a share of the frame interval in 0..1")

    def film(self, photograph: Pixels, frames: int) -> Iterator[tuple[Pixels, Pixels]]:
        """Film ``frames`` pairs of a blurred frame and its sharp twin, one at a time, each new memory.

        Args:
            photograph: ``uint8 [height, width, 3]`` RGB, larger than ``size`` all round; the camera
                never looks past its edges.
            frames: How many; more frames do not change the first ones.

        Raises:
            ContractError: The photograph is too small for ``size``.
        """
        path = CameraPath(self, (photograph.shape[0], photograph.shape[1]))
        return self._exposures(path, linear_from_code(photograph), frames)

    def _exposures(self, path: CameraPath, light: Light, frames: int) -> Iterator[tuple[Pixels, Pixels]]:
        open_s = self.exposure / self.frame_rate
        for index in range(frames):
            middle_s = (index + 0.5) / self.frame_rate
            moments_s = middle_s + open_s * _evenly(path.travelled_px(middle_s, open_s))
            total = np.zeros((*self.size, 3), np.float32)
            for moment_s in moments_s:
                total += opencv.warp_perspective(light, path.view(float(moment_s)), self.size)
            sharp = opencv.warp_perspective(light, path.view(middle_s), self.size)
            yield code_from_linear(total / np.float32(len(moments_s))), code_from_linear(sharp)


def _evenly(path_px: float) -> NDArray[np.float64]:
    """Spread moments over an exposure, -0.5..0.5, about a pixel of its path apart."""
    count = int(np.clip(math.ceil(path_px * 1.2), *MOMENTS))
    return (np.arange(count) + 0.5) / count - 0.5


class CameraPath:
    """Where a camera looks at any time; the same seed gives the same path.

    Args:
        camera: Its size and seed.
        photograph_size: Height and width of the photograph, pixels.

    Raises:
        ContractError: The photograph leaves no room to pan and tilt.
    """

    def __init__(self, camera: VirtualCamera, photograph_size: tuple[int, int]) -> None:
        """Draw the path and fit it into the photograph."""
        self._camera = camera
        self._corner_px = tuple((room - side) / 2 for room, side in zip(photograph_size, camera.size, strict=True))
        self._swing_px = self._largest_swing(photograph_size)
        rng = np.random.default_rng(camera.seed)
        self._phases = rng.uniform(0, 2 * np.pi, (4, len(TONES)))
        # no two axes in step, or the path would run to and fro on one line
        self._pace = np.array([1.0, 0.83, 0.57, 0.41]) * rng.uniform(0.93, 1.07, 4)
        self._haste_phase = float(rng.uniform(0, 2 * np.pi))
        self._rate_hz = 1.0
        speed_px_s = self.travelled_px(SAMPLED_S / 2, SAMPLED_S, steps=50 * SAMPLED_S) / SAMPLED_S
        self._rate_hz = SPEED_PX_S / speed_px_s

    def view(self, time_s: float) -> NDArray[np.float64]:
        """Map pixels of a frame at ``time_s`` to pixels of the photograph: a ``3x3`` homography."""
        pan, tilt, roll, zoom = self._pose(np.array(time_s)).tolist()
        return self._homography((pan * self._swing_px[1], tilt * self._swing_px[0]), roll, zoom)

    def travelled_px(self, middle_s: float, open_s: float, steps: int = 4) -> float:
        """Length of the path of the picture's middle while the shutter is open, pixels."""
        poses = self._pose(np.linspace(middle_s - open_s / 2, middle_s + open_s / 2, steps + 1))
        pan, tilt = np.diff(poses[:, :2], axis=0).T
        return float(np.hypot(pan * self._swing_px[1], tilt * self._swing_px[0]).sum())

    def _pose(self, time_s: Plane) -> Plane:
        """Pan, tilt, roll and zoom, each within -1..1, on a new last axis."""
        base = 2 * math.pi * self._rate_hz
        turned = base * time_s + HASTE / HASTE_TONE * np.sin(HASTE_TONE * base * time_s + self._haste_phase)
        angles = turned[..., None, None] * self._pace[:, None] * np.array(TONES) + self._phases
        return np.asarray(np.sin(angles) @ np.array(TONE_SHARES), np.float64)

    def _homography(self, swing_px: tuple[float, float], roll: float, zoom: float) -> NDArray[np.float64]:
        size = self._camera.size
        pose = CameraMotion(swing_px, (0.0, 0.0), roll * ROLL_RAD, zoom * ZOOM, FOCAL_WIDTHS * size[1])
        placed = np.array([[1.0, 0, self._corner_px[1]], [0, 1.0, self._corner_px[0]], [0, 0, 1.0]])
        return np.asarray(placed @ pose.homography(1.0, size), np.float64)

    def _largest_swing(self, photograph_size: tuple[int, int]) -> tuple[float, float]:
        """Find the widest tilt and pan, pixels, at which no corner leaves the photograph.

        Corners move farthest where every axis is at an end, so that these poses stand for all.
        """
        margin = [min(LARGEST_SWING_PX, corner) for corner in self._corner_px]
        for share in np.linspace(1.0, 0.0, 65):
            tilt, pan = (float(share) * side for side in margin)
            if min(tilt, pan) < SMALLEST_SWING_PX:
                break
            ends = product((-pan, pan), (-tilt, tilt), (-1.0, 1.0), (-1.0, 1.0))
            if all(self._sees_inside(self._homography((x, y), *rest), photograph_size) for x, y, *rest in ends):
                return tilt, pan
        raise ContractError(
            f"the photograph is {photograph_size[0]}x{photograph_size[1]}, too small to move a view of "
            f"{self._camera.size[0]}x{self._camera.size[1]} over it; take a larger one or a smaller size"
        )

    def _sees_inside(self, homography: NDArray[np.float64], photograph_size: tuple[int, int]) -> bool:
        height, width = self._camera.size
        corners = np.array([[x, y, 1.0] for x in (0, width - 1) for y in (0, height - 1)])
        seen = corners @ homography.T
        places = seen[:, :2] / seen[:, 2:]
        last = np.array([photograph_size[1] - 1, photograph_size[0] - 1])
        return bool((places >= 0).all() and (places <= last).all())
