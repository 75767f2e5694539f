"""How quick the kernels are beside what the device can do, and beside what PyTorch has for the same."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ..core.tensors import Array
from .conformance import Bench
from .conformance_cases import Convolution, KernelCase, pool_case

#: EDPN's sizes and the windows of the papers
CHANNELS, OFFSET_GROUPS, TAPS = 64, 8, 9
SIZES = ((180, 320), (720, 1280))
WINDOWS = (48, 96, 384)
#: copies larger than any cache, and a product that keeps every tensor core busy
COPY_BYTES, MATRIX_SIDE = 1 << 29, 8192
#: runs before the clock counts, and those of which the median counts
WARM_UP, RUNS = 10, 50
#: calls of a run follow each other until they take so long, or are so many: to start one from Python takes microseconds
RUN_MS, MOST_CALLS = 5.0, 1000
MULTIPLY_ADD = 2

#: puts work on the stream of the clock
Work = Callable[[], Any]


class Clock(Protocol):
    """Where work runs, and how long it takes there."""

    stream: int

    def times_ms(self, work: Work, runs: int, calls: int = 1) -> list[float]:
        """Run work ``runs`` times, each ``calls`` calls in a row; the time of a call in each run, milliseconds."""
        ...


class Rivals(Protocol):
    """What PyTorch computes on the same device."""

    def copy(self, size: int) -> Work:
        """Copy ``size`` bytes."""
        ...

    def product(self, side: int, dtype: str) -> Work:
        """Multiply two square matrices."""
        ...

    def works(self, case: KernelCase) -> dict[str, Work | str]:
        """Other ways to compute a case by name, or why one is missing."""
        ...


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the device reaches at best, as measured here.

    Attributes:
        copy_gb_s: Bytes read and written each second by a large copy.
        product_tflop_s: Of a large product of matrices, by element type.
    """

    copy_gb_s: float
    product_tflop_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class Timing:
    """One kernel at one size; all as measured.

    Attributes:
        op: Type of the node.
        dtype: Element type.
        size: Height and width, pixels.
        window: Of a pool; None for a convolution.
        ms: Median time.
        gb_s: Bytes of inputs and result, each counted once, by time.
        of_copy: Those bytes against the copy.
        tflop_s: Products and sums of a convolution by time; None for a pool.
        of_product: Those against the product of matrices.
        workspace_bytes: Memory the kernel works with.
        rivals_ms: Median times of PyTorch's ways.
        missing: Why one of those is missing.
    """

    op: str
    dtype: str
    size: tuple[int, int]
    window: int | None
    ms: float
    gb_s: float
    of_copy: float
    tflop_s: float | None
    of_product: float | None
    workspace_bytes: int
    rivals_ms: dict[str, float]
    missing: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def median_ms(clock: Clock, work: Work) -> float:
    """The median time of work that has run before."""
    about_ms = statistics.median(clock.times_ms(work, WARM_UP))
    calls = min(MOST_CALLS, math.ceil(RUN_MS / max(about_ms, RUN_MS / MOST_CALLS)))
    return statistics.median(clock.times_ms(work, RUNS, calls))


def measure_ceiling(clock: Clock, rivals: Rivals, dtypes: Sequence[str]) -> Ceiling:
    """Measure what the device reaches at best."""
    seconds = median_ms(clock, rivals.copy(COPY_BYTES)) / 1e3
    products = {}
    for dtype in dtypes:
        flop = MULTIPLY_ADD * MATRIX_SIDE**3
        products[dtype] = flop / median_ms(clock, rivals.product(MATRIX_SIDE, dtype)) / 1e9
    return Ceiling(2 * COPY_BYTES / seconds / 1e9, products)


def bench_cases(rng: Any, sizes: Sequence[tuple[int, int]] = SIZES) -> Iterator[KernelCase]:
    """The convolution and the pools at every size, in ``float64``; windows no map holds are left out."""
    for size in sizes:
        yield Convolution((CHANNELS, CHANNELS), size, offset_groups=OFFSET_GROUPS).case("EDPN", rng)
        for window in WINDOWS:
            if window <= max(size):
                yield pool_case(f"window {window}", (1, CHANNELS, *size), (window, window), rng)


def time_case(bench: Bench, clock: Clock, rivals: Rivals, ceiling: Ceiling, case: KernelCase) -> Timing:
    """Time a kernel and its rivals on a case of the type it is to run in.

    Raises:
        ContractError: The kernel refuses the case.
        MachineError: The GPU refuses.
    """
    start, placed = bench.prepare(case, stream=clock.stream)
    bench.kernels.check(start())
    ms = median_ms(clock, start)
    moved = sum(array.nbytes for array in case.inputs) + placed.like.nbytes
    gb_s = moved / ms / 1e6
    tflop_s = flop_of(case, placed.like) / ms / 1e9 if case.op == "ModulatedDeformConv" else None
    rivals_ms, missing = {}, {}
    for name, work in rivals.works(case).items():
        if isinstance(work, str):
            missing[name] = work
        else:
            rivals_ms[name] = median_ms(clock, work)
    height, width = case.inputs[0].shape[2:]
    return Timing(
        op=case.op,
        dtype=case.dtype,
        size=(height, width),
        window=case.attributes.get("window", (None,))[0],
        ms=ms,
        gb_s=gb_s,
        of_copy=gb_s / ceiling.copy_gb_s,
        tflop_s=tflop_s,
        of_product=tflop_s and tflop_s / ceiling.product_tflop_s[case.dtype],
        workspace_bytes=bench.kernels.workspace_bytes(bench.call_of(case)),
        rivals_ms=rivals_ms,
        missing=missing,
    )


def flop_of(case: KernelCase, result: Array) -> int:
    """Products and sums of a convolution, without those of its samples."""
    weight = case.inputs[3]
    return MULTIPLY_ADD * int(result.size) * int(weight[0].size)
