"""What it is worth to restore frames of several cameras in one run of the network.

``python -m deblurrt.profiling.batch_experiment`` computes the table of docs/live.md under a virtual clock;
``--model default --size 96x160`` measures instead, on this machine, how long pictures take together, as a share
of what they take one after the other. ``--write FILE`` replaces the table in a page.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..runtime.session import Session, SessionConfig, open_session
from ..runtime.terminal import Terminal
from .flow_simulation import MS, Scenario, Serve, Service, Simulation, frames_at
from .page_sections import write_section

CAMERAS = 6
FPS = 30
FRAMES = 300
#: frames left out: cameras are compared and networks prepared in the first two seconds
FIRST = 60
#: frames of one moment come within this time
JITTER_MS = 3.0
ONE_MS = 10.0
#: how late the first camera's every tenth frame is, where one camera is late
LATE_MS, LATE_EVERY = 20.0, 10

#: pictures at once that are measured, and rounds of each
COUNTS = (2, 4)
ROUNDS = 15
BACKENDS = ("onnxruntime", "openvino")


@dataclass(frozen=True, slots=True)
class Case:
    """Six cameras and an engine.

    Attributes:
        cameras: In words.
        of_six: What a batch of six takes, in times of one frame; None: the engine takes one frame only.
        apart_ms: From the frame of one camera to that of the next.
        late_ms: How late the first camera is now and then.
    """

    cameras: str
    of_six: float | None
    apart_ms: float = 0.0
    late_ms: float = 0.0


CASES = (
    Case("together", None),
    Case("together", 6.0),
    Case("together", 3.0),
    Case("together", 1.5),
    Case("together, one 20 ms late every tenth time", 1.5, late_ms=LATE_MS),
    Case("one after the other", 1.5, apart_ms=1000 / FPS / CAMERAS),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        case: What was simulated.
        deblurred: Share of all frames.
        mean: Frames a run restored on average.
        most: Frames a run restored at most.
        p50_ms: From capture to going out.
        p99_ms: The same.
        missed: Frames that went out after the deadline.
    """

    case: Case
    deblurred: float
    mean: float
    most: int
    p50_ms: float
    p99_ms: float
    missed: int

    def to_line(self) -> str:
        """The row in Markdown."""
        of_six = "not taken" if self.case.of_six is None else f"{self.case.of_six * ONE_MS:.0f} ms"
        return (
            f"| {self.case.cameras} | {of_six} | {self.deblurred:.1%} | {self.mean:.2f} | {self.p50_ms:.1f} "
            f"| {self.p99_ms:.1f} | {self.missed} |"
        )


HEADER = """| frames of six cameras come | six at once | deblurred | frames a run | p50 ms | p99 ms | missed |
|---|---|---|---|---|---|---|"""


def engine_of(case: Case) -> Serve:
    """An engine of ``ONE_MS`` for one frame."""
    further = 0.0 if case.of_six is None else (case.of_six - 1) / (CAMERAS - 1)
    return lambda job: Service(round(ONE_MS * (1 + further * (job.decision.count - 1)) * MS))


def simulated_row(case: Case) -> Row:
    """Run one case on a virtual clock."""
    rng = random.Random(0)
    jitter_ms = 0.0 if case.apart_ms else JITTER_MS
    arrivals = []
    for camera in range(CAMERAS):
        first_ms = camera * case.apart_ms
        times_ms = [first_ms + index * 1000 / FPS + rng.random() * jitter_ms for index in range(FRAMES)]
        arrivals.append(frames_at([round(time_ms * MS) for time_ms in times_ms], f"camera {camera}"))
    delays_ns = {(0, number): round(case.late_ms * MS) for number in range(FIRST, FRAMES, LATE_EVERY)}
    most = 1 if case.of_six is None else None
    deadline_ns = round(1000 / FPS * MS)
    simulation = Simulation(Scenario(arrivals, engine_of(case), deadline_ns, batch_max=most, delays_ns=delays_ns))
    batches = simulation.run().batches
    results = [result for results in simulation.results for result in results[FIRST:]]
    totals_ms = sorted(result.total_ms for result in results)
    return Row(
        case,
        deblurred=sum(result.state is Terminal.DEBLURRED for result in results) / len(results),
        mean=sum(count * runs for count, runs in batches.items()) / sum(batches.values()),
        most=max(batches),
        p50_ms=totals_ms[len(totals_ms) // 2],
        p99_ms=totals_ms[int(0.99 * (len(totals_ms) - 1))],
        missed=sum(ledger.missed for ledger in simulation.ledgers),
    )


def ratios_of(session: Session, size: tuple[int, int], counts: Sequence[int], rounds: int = ROUNDS) -> list[float]:
    """How long pictures take together, as a share of one after the other: the median over rounds, by number.

    Both are run in turns, so that what else the machine does falls on both.
    """
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(max(counts))]
    ratios = []
    for count in counts:
        shares = []
        for _ in range(1 + rounds):
            started_s = time.perf_counter()
            session.restore_batch(pictures[:count], [None] * count)
            together_s = time.perf_counter()
            for picture in pictures[:count]:
                session.restore(picture)
            shares.append((together_s - started_s) / (time.perf_counter() - together_s))
        # the first round prepares
        ratios.append(statistics.median(shares[1:]))
    return ratios


def measured_table(model: str, sizes: Sequence[tuple[int, int]]) -> str:
    """Measure a model on this machine's backends; the table."""
    lines = [f"| {model} | " + " | ".join(f"{count} at once" for count in COUNTS) + " |", "|---|---|---|"]
    for backend in BACKENDS:
        with open_session(model, SessionConfig(backend=backend)) as session:
            for size in sizes:
                shares = " | ".join(f"{ratio:.2f}" for ratio in ratios_of(session, size, COUNTS))
                lines.append(f"| {backend}, {size[0]}x{size[1]} | {shares} |")
    return "\n".join(lines)


def main() -> None:
    """Print a table, or write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="measure a model here, instead of the table of the virtual clock")
    parser.add_argument("--size", metavar="HxW", action="append", help="of the pictures; may be repeated")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace the table in a page")
    arguments = parser.parse_args()
    if arguments.model:
        sizes = [(int(rows), int(columns)) for rows, _, columns in (size.partition("x") for size in arguments.size)]
        table, section = measured_table(arguments.model, sizes), "batch-measured"
    else:
        table = "\n".join([HEADER, *(simulated_row(case).to_line() for case in CASES)])
        section = "batch-virtual"
    print(table)
    if arguments.write:
        write_section(arguments.write, section, table)


if __name__ == "__main__":
    main()
