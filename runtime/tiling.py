"""Frames larger than memory, or than a graph of fixed size: restored tile by tile, equal to the whole frame."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..core.contract import FrameContract
from ..core.errors import BackendError, UsageError
from ..core.tensors import Array, TensorSpec, check_inputs
from .backend import Backend, cancel_run
from .batch_limit import batch_max_of
from .tile_error import TileError, tile_error
from .tile_plan import Size, Span, Tile, TilePlan, TileRule, plan_tiles, size_text

logger = logging.getLogger(__name__)

#: why tiles of a network without a finite halo cannot equal the whole
REASONS = {
    "global": "averages over the whole frame or has no bound on its reach",
    "width": "looks at whole rows, and its contract does not bound its reach along the height",
}


@dataclass(frozen=True, slots=True)
class TileConfig:
    """How a frame is cut.

    >>> config = SessionConfig(tile=TileConfig((1088, 1920)))

    Attributes:
        size: Largest height and width the network is given, halo included, pixels. Rounded down to
            the network's multiple, and shrunk where as many smaller tiles do.
        inexact_halo_px: Halo for networks whose tiles never equal the whole, or a smaller one than
            the contract's; the error is measured on the first frame and logged. None: exact or refused.
    """

    size: Size
    inexact_halo_px: int | None = None


def tiled_backend(backend: Backend, contract: FrameContract, config: TileConfig | None) -> Backend:
    """Wrap a backend so that it takes frames larger than a tile.

    Without ``config``, a graph of any size is left as it is; one of a fixed size gets larger frames
    in tiles of its size.

    Raises:
        UsageError: As ``check_tiles``.
    """
    check_tiles(backend.inputs[0], contract, config)
    fixed = _fixed_size(backend.inputs[0], contract)
    if config is None and fixed is not None:
        config = TileConfig(fixed)
    return backend if config is None else TiledBackend(backend, contract, config, is_fixed=fixed is not None)


def check_tiles(taken: TensorSpec, contract: FrameContract, config: TileConfig | None) -> None:
    """Refuse tiles a model cannot have.

    Args:
        taken: The model's input.
        contract: Of the model.
        config: The tiles; None is never refused.

    Raises:
        UsageError: The network looks at whole frames or rows and the error was not agreed to, or
            the graph takes another size than the tile's.
    """
    if config is None:
        return
    fixed = _fixed_size(taken, contract)
    if fixed is not None and fixed != config.size:
        raise UsageError(
            f"the tile is {size_text(config.size)}, the model takes {size_text(fixed)} only; leave --tile out or "
            "export it with --dynamic"
        )
    halo_of(contract, config)


def halo_of(contract: FrameContract, config: TileConfig) -> int:
    """Say how much of the surroundings each tile gets, pixels.

    Raises:
        UsageError: The network looks at whole frames or rows and the error was not agreed to.
    """
    exact, agreed = contract.halo_px, config.inexact_halo_px
    if isinstance(exact, int):
        return exact if agreed is None else min(exact, agreed)
    if agreed is None:
        raise UsageError(
            f"tiles never equal the whole frame here: the network {REASONS[exact]} (its halo is "
            f"{exact!r}, expected pixels); --tile {size_text(config.size)} --tile-inexact 64 restores tiles with "
            "64 px around them all the same and says how far off they are"
        )
    return agreed


class TiledBackend:
    """A backend around another that gives it one tile at a time.

    Tiles begin at multiples of the contract's, keep its halo and end where the frame ends, so that
    every kept pixel is computed from the same neighbours as in the whole frame. Frames no larger
    than a tile go through untouched.

    Args:
        backend: Runs the graph; closed with this one.
        contract: Of the graph.
        config: Size of the tiles, and whether they may be inexact.
        is_fixed: Whether the graph takes ``config.size`` only.
    """

    def __init__(self, backend: Backend, contract: FrameContract, config: TileConfig, *, is_fixed: bool) -> None:
        self.name = backend.name
        self._backend, self._contract, self._config, self._is_fixed = backend, contract, config, is_fixed
        self._axes = (-3, -2) if contract.io == "uint8" else (-2, -1)
        self.inputs, self.outputs = (
            tuple(map(self._of_any_size, specs)) for specs in (backend.inputs, backend.outputs)
        )
        self._plan: TilePlan | None = None
        self._restored: Array | None = None
        self._is_judged = self.is_exact

    @property
    def is_exact(self) -> bool:
        """Whether tiles equal the whole frame."""
        halo = self._contract.halo_px
        return isinstance(halo, int) and halo_of(self._contract, self._config) == halo

    @property
    def description(self) -> str:
        """That of the backend, with the tiles once the size of the frames is known."""
        plan, inexact = self._plan, "" if self.is_exact or self._config.inexact_halo_px is None else "inexact "
        if plan is None:
            tiles = "" if self._is_fixed and not inexact else f", {inexact}tiles up to {size_text(self._config.size)}"
        else:
            tiles = "" if plan.is_whole else f", {inexact}{_tiles(plan)}"
        return self._backend.description + tiles

    @property
    def batch_max(self) -> int | None:
        """Frames one run takes; None for any number."""
        return batch_max_of(self._backend)

    def _of_any_size(self, spec: TensorSpec) -> TensorSpec:
        """Tiles are there to save memory: one frame at a time, unless a graph of fixed size takes several."""
        shape = [spec.shape[0] if self._is_fixed else 1, *spec.shape[1:]]
        for axis, name in zip(self._axes, ("height", "width"), strict=True):
            shape[axis] = name
        return replace(spec, shape=tuple(shape))

    def prepare(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Compile for the tiles of frames of this shape; they all have one size."""
        name = self.inputs[0].name
        plan = self._plan_for(shapes[name])
        self._backend.prepare({name: self._resized(shapes[name], plan.tile)})

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run once per tile; the result is valid until the next call.

        Raises:
            ContractError: An array has another name, type or shape than the model expects.
            UsageError: The tiles are too small, or of a fixed size that does not fit the frame.
            BackendError: The library failed.
        """
        check_inputs(self.inputs, arrays)
        frames = arrays[self.inputs[0].name]
        plan = self._plan_for(frames.shape)
        if plan.is_whole:
            return self._backend.run(arrays)
        if self._restored is not None and len(self._restored) != len(frames):
            self._restored = None
        padded = self._padded(frames, plan)
        for tile in plan.tiles:
            self._restore(padded, tile, plan)
        assert self._restored is not None
        if not self._is_judged:
            self._judge(padded, self._restored, plan)
        return {self.outputs[0].name: self._restored}

    def _plan_for(self, shape: tuple[int, ...]) -> TilePlan:
        frame = shape[self._axes[0]], shape[self._axes[1]]
        if self._plan is None or self._plan.frame != frame:
            self._plan, self._restored = self._planned(frame), None
            if self._is_fixed and not self._plan.is_whole:
                logger.warning(
                    "the model takes %s, frames are %s: each is restored in %s",
                    *(size_text(self._config.size), size_text(frame), _tiles(self._plan)),
                )
        return self._plan

    def _planned(self, frame: Size) -> TilePlan:
        contract, size = self._contract, self._config.size
        if frame[0] <= size[0] and frame[1] <= size[1]:
            return plan_tiles(frame, TileRule(size, 0))
        halo_px = halo_of(contract, self._config)
        return plan_tiles(frame, TileRule(size, halo_px, contract.multiple, contract.min_size, self._is_fixed))

    def _restore(self, padded: Array, tile: Tile, plan: TilePlan) -> None:
        """Restore one tile and put what is kept of it into its place."""
        part = self._run(self._cut(padded, (tile.rows.read, tile.columns.read)))
        if self._restored is None:
            scale = self._contract.scale
            whole = self._resized(part.shape, (plan.frame[0] * scale, plan.frame[1] * scale))
            self._restored = np.empty(whole, part.dtype)
        kept = self._cut(part, (_inside(tile.rows), _inside(tile.columns)), self._contract.scale)
        self._cut(self._restored, (tile.rows.kept, tile.columns.kept), self._contract.scale)[...] = kept

    def _run(self, frames: Array) -> Array:
        """Run the backend on a part; the result is valid until the next call."""
        return self._backend.run({self.inputs[0].name: np.ascontiguousarray(frames)})[self.outputs[0].name]

    def _padded(self, frames: Array, plan: TilePlan) -> Array:
        """Reflect what the last tiles read behind the frame's end, as the graph does with a whole frame."""
        fill = [(0, 0)] * frames.ndim
        for axis, length, wanted in zip(self._axes, plan.frame, plan.padded, strict=True):
            fill[axis] = (0, wanted - length)
        return frames if plan.padded == plan.frame else np.pad(frames, fill, mode="reflect")

    def _judge(self, padded: Array, restored: Array, plan: TilePlan) -> None:
        """Warn with the measured error, once; a frame of one colour shows none and is passed over."""
        if padded.min() == padded.max():
            return
        self._is_judged = True
        halo_px = halo_of(self._contract, self._config)
        if self._is_fixed:
            outcome = "the error cannot be measured with a model of a fixed size"
        else:
            try:
                outcome = self._error(padded, restored, plan).describe()
            except (BackendError, MemoryError) as error:
                outcome = f"the error could not be measured ({error})"
        logger.warning("%s, with a halo of %d px need not equal the whole frame: %s", _tiles(plan), halo_px, outcome)

    def _error(self, padded: Array, restored: Array, plan: TilePlan) -> TileError:
        """Restore the middle two by two tiles in one piece, and compare."""
        rows, columns = _middle(plan.rows), _middle(plan.columns)
        whole = self._cut(
            self._run(self._cut(padded, (rows.read, columns.read))),
            (_inside(rows), _inside(columns)),
            self._contract.scale,
        )
        tiled = self._cut(restored, (rows.kept, columns.kept), self._contract.scale)
        region = rows.read[1] - rows.read[0], columns.read[1] - columns.read[0]
        return tile_error(whole, tiled, self._contract, region)

    def _cut(self, array: Array, part: tuple[tuple[int, int], tuple[int, int]], scale: int = 1) -> Array:
        """Take a view of ``part``, rows before columns, of an array ``scale`` times as large."""
        where = [slice(None)] * array.ndim
        for axis, (start, stop) in zip(self._axes, part, strict=True):
            where[axis] = slice(start * scale, stop * scale)
        return array[tuple(where)]

    def _resized(self, shape: tuple[int, ...], size: Size) -> tuple[int, ...]:
        lengths = list(shape)
        for axis, length in zip(self._axes, size, strict=True):
            lengths[axis] = length
        return tuple(lengths)

    def cancel(self) -> bool:
        """Stop the run of a tile, and with it that of the frame."""
        return cancel_run(self._backend)

    def close(self) -> None:
        """Release the backend; closing twice is fine."""
        self._backend.close()
        self._restored = None


def _fixed_size(spec: TensorSpec, contract: FrameContract) -> Size | None:
    height, width = (spec.shape[-3:-1]) if contract.io == "uint8" else spec.shape[-2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _inside(span: Span) -> tuple[int, int]:
    """What is kept of a tile, counted from the tile's own start."""
    return span.kept[0] - span.read[0], span.kept[1] - span.read[0]


def _middle(spans: tuple[Span, ...]) -> Span:
    """Join the middle two, or take the only one."""
    first = (len(spans) - 1) // 2
    last = spans[min(first + 1, len(spans) - 1)]
    return Span((spans[first].read[0], last.read[1]), (spans[first].kept[0], last.kept[1]))


def _tiles(plan: TilePlan) -> str:
    count = len(plan.tiles)
    return f"{count} tiles of {size_text(plan.tile)}, {plan.cost:.2f} times the pixels"
