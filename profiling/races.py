"""A race: contestants that must give the same array, timed in turn against the first of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import MachineError
from ..core.tensors import Array
from ..export.parity import FP32_GATE, ParityGate, compare_arrays
from ..runtime.backend import Backend, BackendConfig
from .ratios import Ratio, median_ms, ratio_of, times_in_turn

#: runs a contestant once; the array is valid until its next run
Contestant = Callable[[], Array]


@dataclass(frozen=True, slots=True)
class RacePlan:
    """How everything is measured.

    Attributes:
        folder: For files in between.
        threads: CPU threads of every library.
        rounds: How often each contestant has its turn.
        seconds: What one run of PyTorch may take, by the number of multiply-accumulates.
        tell: Told what begins, for a progress display.
    """

    folder: Path
    threads: int = 1
    rounds: int = 5
    seconds: float = 3.0
    tell: Callable[[str], None] = lambda _line: None

    @property
    def config(self) -> BackendConfig:
        """How every backend runs."""
        return BackendConfig("fp32", self.threads)


@dataclass(frozen=True, slots=True)
class RaceResult:
    """What a race gave.

    Attributes:
        reference: Name of the first contestant.
        reference_ms: Its median time, milliseconds.
        ratios: Of the others, by name.
        differences: Largest absolute difference from what was expected, by name; those that missed the gate
            included.
        failures: Why a contestant gave wrong values, by name; it was not timed.
        missing: Why a contestant did not run here, by name.
    """

    reference: str
    reference_ms: float
    ratios: dict[str, Ratio]
    differences: dict[str, float]
    failures: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def cell(self, name: str) -> str:
        """What a table says of a contestant: its ratio, or why there is none."""
        if name == self.reference:
            return "1.00x"
        if name in self.ratios:
            return str(self.ratios[name])
        return "differs" if name in self.failures else "not measured"

    def describe(self) -> str:
        """Everything in one line, for a progress display."""
        others = [*self.ratios, *self.failures, *self.missing]
        cells = [f"{name} {self.cell(name)}" for name in others if name != self.reference]
        return ", ".join([f"{self.reference} {self.reference_ms:.0f} ms", *cells])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ratios = {name: ratio.to_dict() for name, ratio in self.ratios.items()}
        told = {"reference": self.reference, "reference_ms": self.reference_ms, "ratios": ratios}
        return {**told, "differences": self.differences, "failures": self.failures, "missing": self.missing}


def race(
    contestants: Mapping[str, Contestant], rounds: int, *, expected: Array | None = None, gate: ParityGate = FP32_GATE
) -> RaceResult:
    """Warm every contestant up, compare what it gives, and time those that agree.

    Args:
        contestants: By name; the first is the reference of speed.
        rounds: How often each has its turn.
        expected: What all must give; None: what the first gives.
        gate: How close.

    Returns:
        The result; contestants that differ or cannot run are named in it and not timed.

    Raises:
        MachineError: The first contestant cannot run.
    """
    reference = next(iter(contestants))
    first = np.array(contestants[reference]())
    wanted = first if expected is None else expected
    differences, failures, missing = {}, {}, {}
    for name, contestant in contestants.items():
        try:
            parity = compare_arrays(wanted, first if name == reference else contestant())
        except MachineError as error:
            missing[name] = str(error)
            continue
        differences[name] = parity.max_abs
        if failure := gate.failure(parity):
            failures[name] = failure
    racing = {
        name: contestant
        for name, contestant in contestants.items()
        if name == reference or name not in failures | missing
    }
    times = times_in_turn(racing, rounds)
    ratios = {name: ratio_of(times[reference], seconds) for name, seconds in times.items() if name != reference}
    return RaceResult(reference, median_ms(times[reference]), ratios, differences, failures, missing)


def runs_of(backend: Backend, frames: Array) -> Contestant:
    """A backend on one input, its first output."""
    arrays, output = {backend.inputs[0].name: frames}, backend.outputs[0].name
    return lambda: backend.run(arrays)[output]


def opened_late(open_contestant: Callable[[], Contestant]) -> Contestant:
    """Open a contestant when it first runs, so that one a machine lacks is a missing one in its race."""
    opened: list[Contestant] = []

    def run() -> Array:
        if not opened:
            opened.append(open_contestant())
        return opened[0]()

    return run
