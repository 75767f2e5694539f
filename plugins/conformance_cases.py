"""What kernels are tried on: random configurations from a seed, and named ones for what random ones miss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core.tensors import Array
from .plugin_op import Attributes

DTYPES = ("float32", "float16")
#: largest finite number of half precision
HALF_MAX = 65504.0
#: windows beyond this many pixels go another way in the kernels
LONG_WINDOW = 512


@dataclass(frozen=True, slots=True, eq=False)
class KernelCase:
    """One call with its inputs.

    Attributes:
        op: Type of the node.
        name: What is special about it; ``random`` for those from a seed.
        inputs: All of one type.
        attributes: All settings.
    """

    op: str
    name: str
    inputs: tuple[Array, ...]
    attributes: Attributes

    @property
    def dtype(self) -> str:
        """Element type of all tensors."""
        return self.inputs[0].dtype.name

    def typed(self, dtype: str) -> KernelCase:
        """The same with inputs rounded to another type."""
        return replace(self, inputs=tuple(array.astype(dtype) for array in self.inputs))


@dataclass(frozen=True, slots=True)
class Convolution:
    """Sizes of a deformable convolution; pairs are vertical, horizontal.

    Attributes:
        channels: Input and output.
        side: Height and width of the map, pixels.
        batch: Images.
        offset_px: Standard deviation of the offsets.
        has_bias: Whether a bias is added.
    """

    channels: tuple[int, int]
    side: tuple[int, int]
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    offset_groups: int = 1
    batch: int = 1
    offset_px: float = 2.0
    has_bias: bool = True

    def out_side(self, axis: int) -> int:
        """Rows or columns of the result."""
        covered = self.dilations[axis] * (self.kernel[axis] - 1) + 1
        return (self.side[axis] + 2 * self.pads[axis] - covered) // self.strides[axis] + 1

    def case(self, name: str, rng: np.random.Generator) -> KernelCase:
        """Draw inputs about 1 that give results about 1."""
        taps, (inner, outer) = math.prod(self.kernel), self.channels
        out = (self.out_side(0), self.out_side(1))
        fan = inner // self.groups * taps
        inputs = [
            rng.standard_normal((self.batch, inner, *self.side)),
            rng.standard_normal((self.batch, self.offset_groups * 2 * taps, *out)) * self.offset_px,
            rng.random((self.batch, self.offset_groups * taps, *out)),
            # a bilinear sample times a factor has a variance of about 0.15
            rng.standard_normal((outer, inner // self.groups, *self.kernel)) / math.sqrt(fan * 0.15),
        ]
        if self.has_bias:
            inputs.append(rng.standard_normal(outer))
        pairs = {"strides": self.strides, "pads": self.pads, "dilations": self.dilations}
        attributes = {**pairs, "groups": self.groups, "offset_groups": self.offset_groups}
        return KernelCase("ModulatedDeformConv", name, tuple(inputs), attributes)


def random_cases(op: str, count: int, seed: int) -> Iterator[KernelCase]:
    """Draw ``count`` configurations in ``float64``, each from a generator of its own."""
    draw = {"LocalAvgPool": _random_pool, "ModulatedDeformConv": _random_convolution}[op]
    for index in range(count):
        yield draw(np.random.default_rng([seed, index]))


def _random_pool(rng: np.random.Generator) -> KernelCase:
    side = [int(rng.integers(1, 70)), int(rng.integers(1, 70))]
    window = [int(rng.integers(1, 90)), int(rng.integers(1, 90))]
    if rng.random() < 0.05:
        axis = int(rng.integers(2))
        side[axis], side[1 - axis] = int(rng.integers(LONG_WINDOW, 3 * LONG_WINDOW)), int(rng.integers(1, 5))
        window[axis] = int(rng.integers(LONG_WINDOW // 2, 2 * LONG_WINDOW))
    return pool_case("random", (*rng.integers(1, 4, 2).tolist(), *side), (window[0], window[1]), rng)


def pool_case(name: str, shape: tuple[int, ...], window: tuple[int, int], rng: np.random.Generator) -> KernelCase:
    """Draw a map of values about 1."""
    return KernelCase("LocalAvgPool", name, (1 + rng.standard_normal(shape) / 2,), {"window": window})


def _random_convolution(rng: np.random.Generator) -> KernelCase:
    def draw(choices: Sequence[int]) -> int:
        return int(rng.choice(choices))

    def pair(choices: Sequence[int]) -> tuple[int, int]:
        return draw(choices), draw(choices)

    groups, offset_groups = draw([1, 1, 2, 3]), draw([1, 1, 2, 4])
    inner = math.lcm(groups, offset_groups) * draw([1, 2, 3, 5])
    outer = groups * draw([1, 2, 7, 16, 33, 70])
    kernel, dilations, pads = pair([1, 2, 3, 3, 4]), pair([1, 1, 2]), pair([0, 1, 2, 3])
    covered = [dilation * (side - 1) + 1 for side, dilation in zip(kernel, dilations, strict=True)]
    rows, columns = (max(1, size - 2 * pad) + int(rng.integers(0, 14)) for size, pad in zip(covered, pads, strict=True))
    sizes = Convolution(
        (inner, outer), (rows, columns), kernel, pair([1, 1, 2, 3]), pads, dilations, groups, offset_groups,
        batch=draw([1, 1, 2]), offset_px=float(rng.choice([0.5, 2, 8])), has_bias=bool(rng.random() < 0.7),
    )  # fmt: skip
    return sizes.case("random", rng)


def named_cases(op: str, seed: int) -> list[KernelCase]:
    """Configurations chosen for what can go wrong, in ``float64``."""
    rng = np.random.default_rng([seed, 1 << 20])
    if op == "LocalAvgPool":
        cases = [pool_case(name, shape, window, rng) for name, (shape, window) in _POOLS.items()]
        base = pool_case("", (1, 2, 41, 45), (17, 24), rng)
    else:
        cases = [sizes.case(name, rng) for name, sizes in _CONVOLUTIONS.items()]
        base = Convolution((8, 9), (11, 13), offset_groups=2).case("", rng)
        cases += [_changed(base, name, 1, change) for name, change in _OFFSETS.items()]
        cases += _masks(base)
    middle = (0, 1, *(side // 2 for side in base.inputs[0].shape[2:]))
    for name, value in _NOT_FINITE.items():
        cases.append(_changed(base, f"{name} in the middle", 0, _with(middle, value)))
    return [*cases, _largest(base)]


def _masks(base: KernelCase) -> Iterator[KernelCase]:
    """A factor that is not finite, of a sample between pixels, on one and outside the map."""
    place = (0, 3, *(side // 2 for side in base.inputs[2].shape[2:]))
    wheres: dict[str, Callable[[Array], Array]] = {
        "between pixels": np.copy,
        **{name: _OFFSETS[name] for name in _WITH_MASKS},
    }
    for name, value in _NOT_FINITE.items():
        for where, change in wheres.items():
            told = f"{name} in the mask, {where}"
            yield _changed(_changed(base, told, 1, change), told, 2, _with(place, value))


def _with(place: tuple[int, ...], value: float) -> Callable[[Array], Array]:
    def change(array: Array) -> Array:
        changed = array.copy()
        changed[place] = value
        return changed

    return change


def _changed(case: KernelCase, name: str, index: int, change: Callable[[Array], Array]) -> KernelCase:
    inputs = list(case.inputs)
    inputs[index] = change(inputs[index])
    return replace(case, name=name, inputs=tuple(inputs))


def _largest(case: KernelCase) -> KernelCase:
    """The largest numbers of half precision in the map; weights make the results small again."""
    changed = _changed(case, "largest half-precision numbers", 0, lambda x: HALF_MAX * np.sign(x))
    return _changed(changed, changed.name, 3, lambda weight: weight / HALF_MAX * 8) if len(case.inputs) > 1 else changed


_POOLS: dict[str, tuple[tuple[int, ...], tuple[int, int]]] = {
    "one pixel": ((1, 1, 1, 1), (3, 3)),
    "window of one pixel": ((1, 2, 5, 7), (1, 1)),
    "odd sizes": ((1, 3, 37, 53), (17, 31)),
    "even window": ((1, 2, 40, 64), (16, 32)),
    "window as large as the map": ((1, 2, 48, 33), (48, 33)),
    "window larger than the map": ((1, 2, 20, 31), (96, 384)),
    "one row": ((2, 2, 1, 300), (48, 48)),
    "one column": ((2, 2, 300, 1), (48, 48)),
    "window one less than the map": ((1, 1, 66, 66), (65, 65)),
    "published window of Shoyan": ((1, 2, 120, 130), (96, 96)),
    "published window of MPRNet": ((1, 1, 60, 500), (48, 384)),
    "longest window in registers": ((1, 1, 3, 1200), (2, LONG_WINDOW)),
    "window too long for registers": ((1, 1, 3, 1200), (2, LONG_WINDOW + 1)),
    "tall window too long for registers": ((1, 1, 1200, 3), (LONG_WINDOW + 1, 2)),
}
_CONVOLUTIONS: dict[str, Convolution] = {
    "one pixel": Convolution((1, 1), (1, 1), kernel=(1, 1), pads=(0, 0)),
    "one pixel, all taps but one outside": Convolution((2, 3), (1, 1)),
    "EDPN": Convolution((64, 64), (9, 15), offset_groups=8),
    "odd sizes": Convolution((5, 7), (13, 17)),
    "just beyond a tile": Convolution((4, 65), (3, 43)),
    "depthwise": Convolution((12, 12), (9, 10), groups=12, offset_groups=3),
    "offset groups across groups": Convolution((12, 18), (7, 8), groups=2, offset_groups=3),
    "more groups than offset groups": Convolution((12, 24), (7, 8), groups=3, offset_groups=2),
    "large kernel": Convolution((3, 4), (12, 13), kernel=(5, 7), pads=(2, 3)),
    "stride, pad and dilation differ": Convolution(
        (4, 8), (15, 12), kernel=(3, 2), strides=(2, 1), pads=(0, 3), dilations=(1, 3)
    ),
    "no bias, two images": Convolution((8, 8), (6, 7), batch=2, has_bias=False),
}
_NOT_FINITE = {"NaN": np.nan, "infinite": np.inf, "minus infinite": -np.inf}
_WITH_MASKS = ("offsets of zero", "offsets beyond any map")
_OFFSETS: dict[str, Callable[[Array], Array]] = {
    "offsets of zero": np.zeros_like,
    "whole offsets": np.round,
    "offsets far outside": lambda offset: offset * 1e3,
    "offsets beyond any map": lambda offset: np.sign(offset) * 6e4,
    "offsets that are no numbers": lambda offset: np.where(offset > 2, np.nan, offset),
    "infinite offsets": lambda offset: np.where(np.abs(offset) > 2, np.inf * np.sign(offset), offset),
}
