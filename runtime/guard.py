"""Whether a network's picture can be right: checks cheap enough for every frame."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..core.errors import BackendError
from ..core.tensors import Array, TensorSpec
from .backend import Backend, cancel_run
from .frame import Pixels
from .session import Session

#: rows looked at: every eighth; of them every column
STEP_PX = 8
#: side of the squares whose means must agree, in pixels of the input: wider than the motion blur these
#: networks undo, so that blurred and restored have the same means
CELL_PX = 32
#: rows and columns kept to tell whether a picture is the one before: every sixteenth
KEPT_STEP_PX = 16
#: grey levels by which the means of all squares, and of the worst hundredth, may differ; true sharp frames
#: of REDS and GOPRO are up to 7 and 37 from their blurred ones (docs/live.md)
MEAN_LEVELS_MAX = 10.0
WORST_LEVELS_MAX = 50.0
#: darker than this is black, unless the input is nearly so
BLACK_LEVEL = 2.0
#: float values beyond the range by its own width say that a network computes nonsense
OUTSIDE_SHARE_MAX = 0.01


class UnfitPictureError(BackendError):
    """A network computed values that no picture holds."""


class Guard:
    """Compares a restored picture with its input and with the one before; one per camera.

    Args:
        scale: How much the network enlarges.
    """

    def __init__(self, scale: int = 1) -> None:
        self._scale = scale
        self._last: tuple[Pixels, Pixels] | None = None

    def fault(self, pixels: Pixels, restored: Pixels) -> str:
        """Say what is wrong with ``restored``; empty where nothing is. Figures stand in brackets at the end."""
        wanted = (pixels.shape[0] * self._scale, pixels.shape[1] * self._scale, 3)
        if restored.shape != wanted or restored.dtype != np.uint8:
            given = f"{restored.dtype}{list(restored.shape)}"
            return f"the network gave a picture of another kind ({given}, expected uint8{list(wanted)})"
        before, after = _cell_means(pixels, 1), _cell_means(restored, self._scale)
        if after.mean() < BLACK_LEVEL < before.mean() / 2:
            return "the network gave a black picture"
        last, self._last = self._last, (_kept(pixels), _kept(restored))
        if last is not None and _is_frozen(last, self._last):
            return "the network gave the same picture again"
        return _divergence_fault(np.abs(after - before))


def divergence(pixels: Pixels, restored: Pixels) -> tuple[float, float]:
    """Measure how far ``restored``, blurred again, is from its input: grey levels on average and at worst."""
    return _mean_and_worst(np.abs(_cell_means(restored, 1) - _cell_means(pixels, 1)))


def _divergence_fault(apart: NDArray[np.float32]) -> str:
    mean, worst = _mean_and_worst(apart)
    if mean <= MEAN_LEVELS_MAX and worst <= WORST_LEVELS_MAX:
        return ""
    return (
        f"blurred again, the network's picture is not its input (off by {mean:.0f} grey levels, {worst:.0f} at worst)"
    )


def cause_of(fault: str) -> str:
    """Give a fault without its figures, so that many faults of one cause can be counted together."""
    return fault.partition(" (")[0]


def _mean_and_worst(apart: NDArray[np.float32]) -> tuple[float, float]:
    # np.percentile takes longer than all else here
    rank = math.ceil(0.99 * (apart.size - 1))
    return float(apart.mean()), float(np.partition(apart, rank, axis=None)[rank])


def _cell_means(pixels: Pixels, scale: int) -> NDArray[np.float32]:
    """Average squares; a rest at the right and lower edge counts only in pictures smaller than one square.

    Rows are summed first: whole rows lie side by side in memory, which is what makes this fast.
    """
    rows, columns = CELL_PX * scale, CELL_PX * scale
    height, width = (length - length % rows if length >= rows else length for length in pixels.shape[:2])
    rows, columns = min(rows, height), min(columns, width)
    looked_at = pixels[:height, :width].reshape(height // rows, rows, width * 3)[:, :: STEP_PX * scale]
    summed = looked_at.sum(axis=1, dtype=np.uint16).astype(np.float32)
    # a product adds up the columns of each colour faster than a sum over an axis between two others
    of_color = np.tile(np.eye(3, dtype=np.float32), (columns, 1)) / np.float32(looked_at.shape[1] * columns)
    means: NDArray[np.float32] = summed.reshape(-1, columns * 3) @ of_color
    return means


def _kept(pixels: Pixels) -> Pixels:
    return pixels[::KEPT_STEP_PX, ::KEPT_STEP_PX].copy()


def _is_frozen(last: tuple[Pixels, Pixels], now: tuple[Pixels, Pixels]) -> bool:
    if last[1].shape != now[1].shape or not np.array_equal(last[1], now[1]):
        return False
    apart = np.abs(now[0].astype(np.int16) - last[0])
    return bool(apart.mean() > 1)


class CheckedBackend:
    """Refuses values of a float network that are no numbers or far out of range.

    Args:
        backend: Runs the graph; closed with this one.
        top: Largest value a picture may have.
    """

    def __init__(self, backend: Backend, top: float) -> None:
        self._backend, self._top = backend, top
        self.name, self.description = backend.name, backend.description

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._backend.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._backend.outputs

    def prepare(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._backend.prepare(shapes)

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        given = self._backend.run(arrays)
        for name, values in given.items():
            if not np.isfinite(values.sum(dtype=np.float64)):
                raise UnfitPictureError(f"the network's output {name!r} holds values that are no numbers")
            looked_at = values[..., ::STEP_PX, ::STEP_PX]
            outside = np.count_nonzero((looked_at < -self._top) | (looked_at > 2 * self._top))
            if outside > OUTSIDE_SHARE_MAX * looked_at.size:
                share = outside / looked_at.size
                raise UnfitPictureError(
                    f"the network's output {name!r} lies far outside its range ({share:.0%} of it, 0 to {self._top:g})"
                )
        return given

    def cancel(self) -> bool:
        return cancel_run(self._backend)

    def close(self) -> None:
        self._backend.close()


def checked_session(session: Session) -> Session:
    """A session that also refuses values a picture cannot hold; where the graph rounds itself, the same one."""
    if session.contract.io != "float":
        return session
    top = 1.0 if session.contract.range == "0..1" else 255.0
    return Session(CheckedBackend(session.backend, top), session.contract, session.model)
