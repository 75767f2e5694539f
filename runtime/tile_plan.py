"""Which tiles a frame too large for memory is cut into: where each is read, and which part of its answer is kept."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ..core.errors import UsageError

#: height and width, pixels
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TileRule:
    """What tiles have to keep so that they equal the whole.

    Attributes:
        limit: Largest height and width the network is given, halo included, pixels.
        halo_px: How far away a pixel still matters.
        multiple: The network's own step: tiles begin at multiples of it.
        min_size: Smallest height and width the network takes, pixels.
        is_fixed: Whether the network takes ``limit`` and no other size.
    """

    limit: Size
    halo_px: int
    multiple: int = 1
    min_size: int = 1
    is_fixed: bool = False

    @property
    def overlap_px(self) -> int:
        """How much neighbours share: the halo of both, rounded up to the multiple."""
        return _up(2 * self.halo_px, self.multiple)

    @property
    def smallest_px(self) -> int:
        """Smallest height or width of a tile that is cut out of a longer frame."""
        return max(self.overlap_px + self.multiple, _up(self.min_size, self.multiple))


@dataclass(frozen=True, slots=True)
class Span:
    """One axis of a tile, in pixels of the frame.

    Attributes:
        read: First pixel the network sees, and the one behind the last; may reach past the frame's
            end, by less than the multiple.
        kept: The same for the part of its answer that is used.
    """

    read: tuple[int, int]
    kept: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of a frame.

    Attributes:
        rows: Along the height.
        columns: Along the width.
    """

    rows: Span
    columns: Span


@dataclass(frozen=True, slots=True)
class TilePlan:
    """All tiles of frames of one size; they have one size as well.

    Attributes:
        frame: Height and width of the frame.
        rows: Tiles along the height, from the top.
        columns: Tiles along the width, from the left.
    """

    frame: Size
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """Every tile, row by row."""
        return tuple(Tile(rows, columns) for rows in self.rows for columns in self.columns)

    @property
    def tile(self) -> Size:
        """Height and width of every tile."""
        (top, bottom), (left, right) = self.rows[0].read, self.columns[0].read
        return bottom - top, right - left

    @property
    def padded(self) -> Size:
        """Height and width of the frame with what the last tiles read behind its end."""
        return self.rows[-1].read[1], self.columns[-1].read[1]

    @property
    def is_whole(self) -> bool:
        """Whether the one tile is the frame itself."""
        return len(self.rows) == len(self.columns) == 1

    @property
    def cost(self) -> float:
        """Pixels the network sees over pixels of the frame; 1 where nothing is computed twice."""
        count = len(self.rows) * len(self.columns)
        return count * self.tile[0] * self.tile[1] / (self.frame[0] * self.frame[1])


def plan_tiles(frame: Size, rule: TileRule) -> TilePlan:
    """Cut a frame into as few tiles as the rule allows, all of one size and no larger than needed.

    >>> plan = plan_tiles((1080, 1920), TileRule(limit=(1080, 1024), halo_px=121, multiple=16))
    >>> plan.tile, [columns.kept for columns in plan.columns]
    ((1080, 816), [(0, 688), (688, 1240), (1240, 1920)])

    Args:
        frame: Height and width, pixels.
        rule: Of the network.

    Raises:
        UsageError: Beside the halo nothing is left of a tile, or tiles of a fixed size cannot end
            where the frame does.
    """
    return TilePlan(frame, _spans(frame, 0, rule), _spans(frame, 1, rule))


def _spans(frame: Size, axis: int, rule: TileRule) -> tuple[Span, ...]:
    length, limit = frame[axis], rule.limit[axis]
    if length <= limit:
        return (Span((0, length), (0, length)),)
    if limit < rule.smallest_px:
        raise UsageError(_too_small(frame, rule))
    if rule.is_fixed and limit % rule.multiple and (length - limit) % rule.multiple:
        raise UsageError(
            f"the model takes {size_text(rule.limit)} only, which is no multiple of {rule.multiple}: its tiles cannot "
            f"end where a frame of {size_text(frame)} does; export it with --dynamic"
        )
    tile, starts = _starts(length, limit, rule)
    cuts = [(one + tile + other) // 2 for one, other in pairwise(starts)]
    kept = zip([0, *cuts], [*cuts, length], strict=True)
    return tuple(Span((start, start + tile), part) for start, part in zip(starts, kept, strict=True))


def _starts(length: int, limit: int, rule: TileRule) -> tuple[int, list[int]]:
    """Length of the tiles along one axis, and where they begin; there are at least two."""
    multiple, overlap = rule.multiple, rule.overlap_px
    # tiles of a fixed size that is no multiple end with the frame, or are refused
    padded = length if limit % multiple and rule.is_fixed else _up(length, multiple)
    tile = limit if rule.is_fixed else limit // multiple * multiple
    step = (tile - 2 * rule.halo_px) // multiple * multiple
    count = -(-(padded - tile) // step) + 1
    if not rule.is_fixed:
        tile = _up(-(-(padded - overlap) // count), multiple) + overlap
    # spread evenly: the last one is moved inwards, and all overlap by more than they have to
    step = _up(-(-(padded - tile) // (count - 1)), multiple)
    return tile, [min(index * step, padded - tile) for index in range(count)]


def _too_small(frame: Size, rule: TileRule) -> str:
    smallest = tuple(
        limit if length <= limit or limit >= rule.smallest_px else min(rule.smallest_px, length)
        for length, limit in zip(frame, rule.limit, strict=True)
    )
    remedy = (
        "export the model with --dynamic or for a larger size"
        if rule.is_fixed
        else f"the smallest tile for it is --tile {size_text((smallest[0], smallest[1]))}"
    )
    return (
        f"the tile {size_text(rule.limit)} is too small for frames of {size_text(frame)}: the halo of {rule.halo_px} "
        f"px on both sides, in steps of {rule.multiple} px, leaves nothing of it; {remedy}"
    )


def size_text(size: Size) -> str:
    """Write ``720x1280``."""
    return f"{size[0]}x{size[1]}"


def _up(length: int, multiple: int) -> int:
    """Round up to a multiple."""
    return -(-length // multiple) * multiple
