"""Whether kernels compute what the references say: cases and checks on a device, with the worst error of each group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import MachineError
from ..core.tensors import Array
from .conformance_cases import DTYPES, KernelCase, named_cases, random_cases
from .kernel_calls import KERNELS, OK, KernelCall, kernel_call
from .kernel_library import KernelLibrary
from .kernel_memory import KernelMemory, Placed, taken
from .ops import plugin_op

#: (type of a node, element type) -> largest error, relative to the largest value of the result and at least 1.
#: Half precision rounds results of 1 to 2 by up to 4.9e-4, and the samples of a convolution before the product.
TOLERANCES = {
    ("LocalAvgPool", "float32"): 1e-6,
    ("LocalAvgPool", "float16"): 1e-3,
    ("ModulatedDeformConv", "float32"): 5e-6,
    ("ModulatedDeformConv", "float16"): 2e-3,
}
#: a GPU that failed answers every later call with the same error
NOTHING_AFTER = "nothing can run after that"


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of a group of cases, or of one check.

    Attributes:
        op: Type of the node.
        dtype: Element type.
        name: Of the group or the check.
        cases: How many were run.
        error: The largest, relative to the largest value of a result and at least 1; None where none is measured.
        tolerance: What it may be.
        failures: What went wrong, in words.
        skipped: Why nothing was run; empty if something was.
        is_last: Whether the device failed, so that nothing can run after it.
    """

    op: str
    dtype: str
    name: str
    cases: int = 1
    error: float | None = None
    tolerance: float | None = None
    failures: tuple[str, ...] = ()
    skipped: str = ""
    is_last: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "op": self.op, "dtype": self.dtype, "name": self.name, "cases": self.cases, "error": self.error,
            "tolerance": self.tolerance, "failures": list(self.failures), "skipped": self.skipped,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bench:
    """Where cases run.

    Attributes:
        kernels: Compiled for the device.
        memory: Of the same device.
    """

    kernels: KernelLibrary
    memory: KernelMemory

    def call_of(self, case: KernelCase) -> KernelCall:
        """Describe the call of a case."""
        return kernel_call(case.op, case.inputs[0].dtype, [array.shape for array in case.inputs], case.attributes)

    def prepare(self, case: KernelCase, skew: int = 0, stream: int = 0) -> tuple[Callable[[], int], Placed]:
        """Place inputs, ``skew`` bytes off, and give what starts the call, and its result's place."""
        call = self.call_of(case)
        inputs = [self.memory.place(array, skew) for array in case.inputs]
        # NaN everywhere: what the kernel leaves out is seen
        result = self.memory.place(np.full(call.output_shape, np.nan, call.dtype), skew)
        size = self.kernels.workspace_bytes(call)
        workspace = self.memory.place(np.zeros(size, np.uint8))
        addresses = [placed.address for placed in inputs]

        def start() -> int:
            kept = (inputs, workspace)
            return self.kernels.start(call, addresses, result.address, (kept[1].address, size), stream)

        return start, Placed(result.base, result.skew, result.like, (result.owner, inputs, workspace, start))

    def run(self, case: KernelCase, skew: int = 0) -> tuple[Array, str]:
        """Compute a case; what it gives, and what went wrong on the way."""
        start, placed = self.prepare(case, skew)
        code = start()
        if code != OK:
            return placed.like, f"code {code}: {self.kernels.explain(code)}"
        result, is_whole = self.take(placed)
        return result, "" if is_whole else "wrote beside its result"

    def take(self, placed: Placed) -> tuple[Array, bool]:
        """Copy a result back; and whether what lies around it is untouched."""
        self.memory.wait()
        return taken(self.memory, Placed(placed.base, placed.skew, placed.like, placed.owner[0]))


def expected_of(case: KernelCase) -> Array:
    """The result in ``float64``."""
    definition = plugin_op(case.op)
    settings = {name: case.attributes[name] for name in definition.attributes}
    # NaN and infinity are among the cases
    with np.errstate(invalid="ignore", over="ignore"):
        result: Array = definition.reference(*case.inputs, **settings)
    return result


def compare(result: Array, expected: Array) -> tuple[float, str]:
    """The error relative to the largest expected value and at least 1; and what is not finite where it should be."""
    with np.errstate(over="ignore"):
        rounded = expected.astype(result.dtype)
    is_finite = np.isfinite(rounded)
    wrong = int((is_finite != np.isfinite(result)).sum())
    wrong += int((~is_finite & (np.isnan(rounded) != np.isnan(result))).sum())
    wrong += int((np.isinf(rounded) & np.isinf(result) & (rounded != result)).sum())
    if wrong:
        return np.inf, f"{wrong} values are NaN or infinite in one of result and reference only, or of another sign"
    if not is_finite.any():
        return 0.0, ""
    scale = max(1.0, float(np.abs(expected[is_finite]).max()))
    return float(np.abs(result[is_finite].astype(np.float64) - expected[is_finite]).max()) / scale, ""


def _describe(case: KernelCase) -> str:
    shapes = " ".join(str(list(array.shape)) for array in case.inputs)
    return f"{case.name}: inputs {shapes}, {dict(case.attributes)}"


def run_group(
    bench: Bench, cases: Iterable[KernelCase], name: str, dtype: str, skews: tuple[int, ...] = (0,)
) -> Finding:
    """Compare cases of one operator and type with the reference.

    Args:
        bench: Where they run.
        cases: In ``float64``; rounded to ``dtype`` before the reference sees them.
        name: Of the group.
        dtype: Element type.
        skews: Elements by which all tensors are moved from a good alignment, one run for each.
    """
    worst, count, op, failures = 0.0, 0, "", []
    for exact in cases:
        with np.errstate(over="ignore"):
            case = exact.typed(dtype)
        op, tolerance, expected = case.op, TOLERANCES[case.op, dtype], expected_of(case)
        for skew in skews:
            count += 1
            try:
                result, trouble = bench.run(case, skew * case.inputs[0].itemsize)
            except MachineError as fault:
                failures.append(f"{_describe(case)}: {fault}; {NOTHING_AFTER}")
                return Finding(op, dtype, name, count, worst, tolerance, tuple(failures), is_last=True)
            error, wrong = compare(result, expected)
            worst = max(worst, error)
            if trouble or wrong or not error <= tolerance:
                failures.append(f"{_describe(case)}: {trouble or wrong or f'error {error:.1e}'}")
    return Finding(op, dtype, name, count, worst, TOLERANCES[op, dtype], tuple(failures))


def run_kit(bench: Bench, count: int, seed: int) -> Iterator[Finding]:
    """Run everything, one finding after the other, to the end or to the first failure of the device.

    Args:
        bench: Where.
        count: Random configurations of each operator and type.
        seed: Of all random numbers.
    """
    for op in KERNELS:
        for dtype in DTYPES:
            for finding in _findings(bench, op, dtype, count, seed):
                yield finding
                if finding.is_last:
                    return


def _findings(bench: Bench, op: str, dtype: str, count: int, seed: int) -> Iterator[Finding]:
    from .conformance_checks import CHECKS

    yield run_group(bench, random_cases(op, count, seed), "random", dtype)
    for case in named_cases(op, seed):
        yield run_group(bench, [case], case.name, dtype)
    yield run_group(bench, random_cases(op, 8, seed + 1), "element-aligned pointers", dtype, skews=(1, 3))
    for name, check in CHECKS.items():
        try:
            yield check(bench, name, op, dtype, seed)
        except MachineError as error:
            yield Finding(op, dtype, name, failures=(f"{error}; {NOTHING_AFTER}",), is_last=True)
