"""Motion blur a moving camera makes: homographies over the exposure, averaged in linear light.

The sharp picture of a pair is always the one seen at the middle of the exposure. Paths are nearly
straight: hand-held blur over one frame is a slightly bent streak, and networks learn almost
nothing from curved, jittery ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import opencv
from .linear_light import code_from_linear, linear_from_code

Pixels = NDArray[np.uint8]
Light = NDArray[np.float32]

#: pixels of photograph needed around a crop so that warps stay inside it
MARGIN_PX = 48
MAX_PATH_PX = 48.0
#: brighter than this (linear light) counts as a highlight that may have been clipped
HIGHLIGHT = 0.6
#: shares of the pairs with two layers, clipped highlights, few discrete frames, noise
LAYERED_SHARE, CLIPPED_SHARE, GHOSTED_SHARE, NOISY_SHARE = 0.32, 0.15, 0.12, 0.3


@dataclass(frozen=True, slots=True)
class CameraMotion:
    """How a camera turns while the shutter is open; time runs from -0.5 to 0.5.

    Attributes:
        shift_px: Turn to the right and upwards over the exposure, in pixels of the picture.
        bend_px: Bow of that movement to the right and upwards, pixels at the ends.
        roll_rad: Rotation about the optical axis over the exposure.
        zoom: Relative change of size over the exposure.
        focal_px: Focal length in pixels; short lenses vary the blur over the picture.
        centre_px: Optical centre (x, y) relative to the middle of the crop.
    """

    shift_px: tuple[float, float]
    bend_px: tuple[float, float] = (0.0, 0.0)
    roll_rad: float = 0.0
    zoom: float = 0.0
    focal_px: float = 1200.0
    centre_px: tuple[float, float] = (0.0, 0.0)

    def homography(self, time: float, size: tuple[int, int], margin_px: int = 0) -> NDArray[np.float64]:
        """Map pixels of a ``size`` (height, width) crop to photograph pixels at ``time``.

        At time 0 this is the identity, moved by ``margin_px`` in both directions.
        """
        bow = 4 * time * time
        yaw = (self.shift_px[0] * time + self.bend_px[0] * bow) / self.focal_px
        pitch = (self.shift_px[1] * time + self.bend_px[1] * bow) / self.focal_px
        centre = ((size[1] - 1) / 2 + self.centre_px[0], (size[0] - 1) / 2 + self.centre_px[1])
        turn = _rotation(yaw, pitch, self.roll_rad * time)
        zoomed = self.focal_px * (1.0 + self.zoom * time)
        look = np.array([[zoomed, 0, centre[0]], [0, zoomed, centre[1]], [0, 0, 1.0]])
        base = np.array([[self.focal_px, 0, centre[0]], [0, self.focal_px, centre[1]], [0, 0, 1.0]])
        moved: NDArray[np.float64] = look @ turn @ np.linalg.inv(base)
        offset = np.array([[1.0, 0, margin_px], [0, 1.0, margin_px], [0, 0, 1.0]])
        return np.asarray(offset @ moved, np.float64)


def _rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y, np.float64)


def random_motion(rng: np.random.Generator, max_path_px: float = MAX_PATH_PX) -> CameraMotion:
    """Draw a nearly straight movement, its length log-uniform in 1.5 px..``max_path_px``."""
    length = float(np.exp(rng.uniform(np.log(1.5), np.log(max_path_px))))
    angle = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    bend = np.array([-along[1], along[0]]) * length * rng.normal(0, 0.06) + along * length * rng.normal(0, 0.05)
    focal = rng.uniform(700, 2200)
    return CameraMotion(
        shift_px=(float(along[0] * length), float(along[1] * length)),
        bend_px=(float(bend[0]), float(bend[1])),
        roll_rad=float(rng.normal(0, 0.35) * length / 640),
        zoom=float(rng.normal(0, 0.3) * length / 640),
        focal_px=float(focal),
        centre_px=(float(rng.uniform(-500, 500)), float(rng.uniform(-280, 280))),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One moving sheet of a scene.

    Attributes:
        light: ``float32 [height, width, 3]`` linear light, ``MARGIN_PX`` wider than the crop all round.
        opacity: ``float32 [height, width]`` in 0..1, or None where the sheet is everywhere.
        motion: How it moves.
    """

    light: Light
    opacity: Light | None
    motion: CameraMotion


def exposures(layers: list[Layer], size: tuple[int, int], times: NDArray[np.float64]) -> Iterator[Light]:
    """Yield the scene as seen at each of ``times``: ``float32 [height, width, 3]`` linear light."""
    for time in times:
        scene: Light | None = None
        for layer in layers:
            homography = layer.motion.homography(float(time), size, MARGIN_PX)
            seen = opencv.warp_perspective(layer.light, homography, size)
            if scene is None or layer.opacity is None:
                scene = seen
            else:
                cover = opencv.warp_perspective(layer.opacity, homography, size)[..., None]
                scene = scene + cover * (seen - scene)
        assert scene is not None
        yield scene


def expose(layers: list[Layer], size: tuple[int, int], count: int) -> tuple[Pixels, Pixels]:
    """Open the shutter over ``count`` moments: the sharp mid-exposure picture and the blurred one."""
    times = (np.arange(count) + 0.5) / count - 0.5
    total = np.zeros((*size, 3), np.float32)
    for scene in exposures(layers, size, times):
        total += scene
    sharp = next(exposures(layers, size, np.zeros(1)))
    return code_from_linear(sharp), code_from_linear(total / np.float32(count))


def camera_pair(region: Pixels, other: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Synthesise a (sharp, blurred) crop from a photograph a moving camera sees.

    Some pairs (the shares are constants of this module) get a second layer that moves by itself,
    clipped highlights, few discrete frames (the ghosting of GOPRO) or slight noise.

    Args:
        region: ``uint8 [height, width, 3]``, the crop and ``MARGIN_PX`` around it.
        other: The same size, from another photograph, for the second layer.
        rng: Source of every choice.
    """
    size = (region.shape[0] - 2 * MARGIN_PX, region.shape[1] - 2 * MARGIN_PX)
    motion = random_motion(rng)
    boost = rng.uniform(2, 6) if rng.random() < CLIPPED_SHARE else 1.0
    layers = [Layer(_brighten(linear_from_code(region), boost), None, motion)]
    if rng.random() < LAYERED_SHARE:
        mask = random_mask((region.shape[0], region.shape[1]), rng)
        layers.append(Layer(_brighten(linear_from_code(other), boost), mask, random_motion(rng)))
    length = max(float(np.hypot(*layer.motion.shift_px)) for layer in layers)
    count = int(rng.integers(7, 14)) if rng.random() < GHOSTED_SHARE else int(np.clip(length, 9, 35))
    sharp, blurred = expose(layers, size, count)
    return sharp, with_noise(blurred, rng) if rng.random() < NOISY_SHARE else blurred


def _brighten(light: Light, factor: float) -> Light:
    if factor == 1.0:
        return light
    return np.where(light > HIGHLIGHT, HIGHLIGHT + (light - HIGHLIGHT) * np.float32(factor), light)


def with_noise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Add Gaussian noise of 0.5 to 3 grey levels."""
    noise = rng.normal(0, rng.uniform(0.5, 3.0), pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def random_mask(size: tuple[int, int], rng: np.random.Generator) -> Light:
    """A random blob covering roughly a third of ``size``, edges about a pixel soft."""
    noise = rng.normal(0, 1, (max(size[0] // 8, 2), max(size[1] // 8, 2))).astype(np.float32)
    blob = opencv.enlarge(opencv.smooth(noise, float(rng.uniform(2.5, 7))), size)
    spread = float(blob.std()) + 1e-6
    edge = (blob - np.float32(rng.uniform(0.0, 0.8) * spread)) / np.float32(0.04 * spread)
    return np.asarray(np.clip(edge + 0.5, 0.0, 1.0), np.float32)


def straight_pair(crop: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Blur ``crop`` along a straight line of 2 to 16 px: the easy samples that start learning."""
    length, angle = rng.uniform(2, 16), rng.uniform(0, np.pi)
    blurred = opencv.filter_with(linear_from_code(crop), line_kernel(length, angle))
    return crop, code_from_linear(blurred)


def line_kernel(length_px: float, angle_rad: float) -> Light:
    """An antialiased line of ``length_px`` through the middle of an odd square, summing to one."""
    radius = int(np.ceil(length_px / 2)) + 1
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    steps = np.linspace(-length_px / 2, length_px / 2, int(np.ceil(length_px * 8)) + 1)
    for x, y in zip(steps * np.cos(angle_rad) + radius, steps * np.sin(angle_rad) + radius, strict=True):
        column, row = int(x), int(y)
        right, below = x - column, y - row
        kernel[row, column] += (1 - right) * (1 - below)
        kernel[row, column + 1] += right * (1 - below)
        kernel[row + 1, column] += (1 - right) * below
        kernel[row + 1, column + 1] += right * below
    return np.asarray(kernel / kernel.sum(), np.float32)
