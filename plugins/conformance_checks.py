"""What kernels promise beside their results: codes, threads, streams, capture, other shapes in between."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..core.tensors import Array
from .conformance import Bench, Finding
from .conformance_cases import KernelCase, random_cases
from .kernel_calls import BAD_SHAPE, BAD_TYPE, OK, SMALL_WORKSPACE
from .kernel_memory import taken

#: calls at the same time, and of each kind
CALLS = 8

Check = Callable[[Bench, str, str, str, int], Finding]


def _cases(op: str, dtype: str, seed: int, count: int = CALLS) -> list[KernelCase]:
    return [case.typed(dtype) for case in random_cases(op, count, seed + 2)]


def _same(one: Array, other: Array) -> bool:
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


def small_workspace(bench: Bench, name: str, op: str, dtype: str, seed: int) -> Finding:
    """A workspace with a byte less than asked for is refused, and nothing written."""
    case = _cases(op, dtype, seed, 1)[0]
    call = bench.call_of(case)
    size = bench.kernels.workspace_bytes(call)
    if not size:
        return Finding(op, dtype, name, 0, skipped="works without a workspace")
    inputs = [bench.memory.place(array) for array in case.inputs]
    result = bench.memory.place(np.full(call.output_shape, np.nan, call.dtype))
    room = bench.memory.place(np.zeros(size, np.uint8))
    code = bench.kernels.start(call, [each.address for each in inputs], result.address, (room.address, size - 1))
    failures = [] if code == SMALL_WORKSPACE else [f"code {code}"]
    for what, placed in {"result": result, "workspace": room}.items():
        array, is_whole = taken(bench.memory, placed)
        # by bytes: one NaN equals another
        if not is_whole or array.tobytes() != placed.like.tobytes():
            failures.append(f"the {what} was written to")
    return Finding(op, dtype, name, failures=tuple(failures))


def refused_calls(bench: Bench, name: str, op: str, dtype: str, seed: int) -> Finding:
    """Types that do not exist and sides of nothing have their codes; an empty batch is no error."""
    case = _cases(op, dtype, seed, 1)[0]
    failures = []
    changes = {"type": (7, BAD_TYPE), "height": (0, BAD_SHAPE), "width": (-1, BAD_SHAPE)}
    changes["maps" if op == "LocalAvgPool" else "batch"] = (0, OK)
    for field, (value, wanted) in changes.items():
        call = bench.call_of(case)
        setattr(call.structure, field, value)
        code = bench.kernels.start(call, [0] * len(case.inputs), 0)
        if code != wanted:
            failures.append(f"{field} of {value} gives code {code}, expected {wanted}")
    return Finding(op, dtype, name, len(changes), failures=tuple(failures))


def at_once(bench: Bench, name: str, op: str, dtype: str, seed: int) -> Finding:
    """Two threads with a stream each get what one gets, with other shapes from call to call."""
    cases = _cases(op, dtype, seed)
    alone = [bench.run(case)[0] for case in cases]

    def work(stream: int) -> list[Array]:
        started = [bench.prepare(case, stream=stream) for case in cases]
        for start, _ in started:
            bench.kernels.check(start())
        return [bench.take(placed)[0] for _, placed in started]

    with bench.memory.stream() as one, bench.memory.stream() as other, ThreadPoolExecutor(2) as pool:
        together = list(pool.map(work, (one, other)))
    differ = sum(not _same(*pair) for results in together for pair in zip(results, alone, strict=True))
    return Finding(op, dtype, name, 2 * CALLS, failures=(f"{differ} results differ",) if differ else ())


def backwards(bench: Bench, name: str, op: str, dtype: str, seed: int) -> Finding:
    """Threads between two barriers may run in any order: the last first gives the same bits."""
    turn = getattr(bench.kernels.library, "deblurrt_run_threads_backwards", None)
    if turn is None:
        return Finding(op, dtype, name, 0, skipped="a GPU has no order that could be turned round")
    cases = _cases(op, dtype, seed)
    forwards = [bench.run(case)[0] for case in cases]
    turn(1)
    try:
        differ = sum(not _same(bench.run(case)[0], result) for case, result in zip(cases, forwards, strict=True))
    finally:
        turn(0)
    return Finding(op, dtype, name, CALLS, failures=(f"{differ} results differ",) if differ else ())


def captured(bench: Bench, name: str, op: str, dtype: str, seed: int) -> Finding:
    """A call can be captured in a graph, and the graph computes the same."""
    case = _cases(op, dtype, seed, 1)[0]
    with bench.memory.stream() as stream:
        start, placed = bench.prepare(case, stream=stream)
        code = bench.memory.replayed(stream, start)
    if code is None:
        return Finding(op, dtype, name, 0, skipped="the CPU has no graphs")
    if code != OK:
        return Finding(op, dtype, name, failures=(f"code {code}: {bench.kernels.explain(code)}",))
    is_same = _same(bench.take(placed)[0], bench.run(case)[0])
    return Finding(op, dtype, name, failures=() if is_same else ("the graph gives other results",))


CHECKS: dict[str, Check] = {
    "workspace too small": small_workspace,
    "calls that are refused": refused_calls,
    "two streams, shapes change": at_once,
    "threads last to first": backwards,
    "graph capture": captured,
}
