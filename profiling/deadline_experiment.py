"""What deadline policies do to a camera of 30 frames per second: three engines, three policies.

``python -m deblurrt.profiling.deadline_experiment`` runs it in real time, with threads, a source
and engines that sleep, and prints the table of docs/reliability.md; ``--virtual`` computes the same
under a virtual clock, ``--write FILE`` replaces the table in a page.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..runtime.ledger import Ledger
from ..runtime.live_flow import LatePolicy
from ..runtime.live_runner import LiveConfig
from ..runtime.live_worker import TIMED_RUNS
from ..runtime.terminal import Terminal
from .flow_simulation import MS, Scenario, Service, Simulation, frames_at, one_by_one
from .page_sections import write_section
from .scripted_runs import run_scripted

FRAMES = 300
FPS = 30
SIZE = (720, 1280)
DEADLINE_MS = 50.0
SPIKE_SHARE = 0.04
SPIKE_MS = 150.0

#: name -> usual milliseconds and share of spikes
ENGINES: dict[str, tuple[float, float]] = {
    "20 ms, 4 % spikes of 150 ms": (20.0, SPIKE_SHARE),
    "constant 40 ms": (40.0, 0.0),
    "constant 45 ms": (45.0, 0.0),
}
POLICIES: dict[str, LatePolicy] = {"drop": "drop", "pass-through": "pass", "pass-through + admission": "admit"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        engine: Name of the engine.
        policy: Name of the policy.
        deblurred: Frames restored in time.
        late: Frames restored too late.
        passed: Untouched frames that went out.
        dropped: Frames of which nothing went out.
        lost: Frames nobody can account for; must be 0.
        p50_ms: From capture to going out.
        p99_ms: The same.
        miss_rate: Frames that went out after the deadline, of all captured.
    """

    engine: str
    policy: str
    deblurred: int
    late: int
    passed: int
    dropped: int
    lost: int
    p50_ms: float | None
    p99_ms: float | None
    miss_rate: float

    def to_line(self) -> str:
        """The row in Markdown."""
        late = f" (+{self.late} late)" if self.late else ""
        return (
            f"| {self.engine} | {self.policy} | {self.deblurred}{late} | {self.passed} | {self.dropped} | {self.lost} "
            f"| {self.p50_ms} | {self.p99_ms} | {self.miss_rate:.1%} |"
        )


HEADER = """| engine | policy | deblurred | passed | dropped | lost | p50 ms | p99 ms | missed |
|---|---|---|---|---|---|---|---|---|"""


def durations_ms(engine: str, seed: int = 0) -> Iterator[float]:
    """How long the engine takes, run after run; the first is its warm-up."""
    usual_ms, spikes = ENGINES[engine]
    rng = random.Random(seed)
    yield usual_ms
    while True:
        yield SPIKE_MS if rng.random() < spikes else usual_ms


def row_of(engine: str, policy: str, ledger: Ledger) -> Row:
    """Read the figures off a finished account."""
    states = ledger.states
    missed_passes = ledger.missed if POLICIES[policy] != "drop" else 0
    late = ledger.missed - missed_passes
    passed = sum(count for state, count in states.items() if state.name.startswith("PASS"))
    latency = ledger.latency
    return Row(
        engine,
        policy,
        deblurred=states[Terminal.DEBLURRED] - late,
        late=late,
        passed=passed,
        dropped=sum(count for state, count in states.items() if state.is_dropped),
        lost=ledger.captured - sum(states.values()),
        p50_ms=latency.percentile("total", "p50"),
        p99_ms=latency.percentile("total", "p99"),
        miss_rate=ledger.missed / max(ledger.captured, 1),
    )


def simulated_row(engine: str, policy: str) -> Row:
    """Run one engine under one policy on a virtual clock."""
    services = (Service(round(duration_ms * MS)) for duration_ms in durations_ms(engine))
    frames = frames_at([round(index * 1000 * MS / FPS) for index in range(FRAMES)])
    simulation = Simulation(Scenario([frames], one_by_one(services), round(DEADLINE_MS * MS), POLICIES[policy]))
    simulation.run()
    return row_of(engine, policy, simulation.ledgers[0])


def measured_row(engine: str, policy: str) -> Row:
    """Run one engine under one policy in real time; takes ten seconds."""
    # a worker times its runs before the first frame
    durations = itertools.chain(itertools.repeat(ENGINES[engine][0], 1 + TIMED_RUNS), durations_ms(engine))
    config = LiveConfig(DEADLINE_MS, POLICIES[policy])
    ledger, _ = run_scripted(durations, config, SIZE, FPS, FRAMES)
    return row_of(engine, policy, ledger)


def main() -> None:
    """Run all and print the table, or write it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--virtual", action="store_true", help="under a virtual clock, at once")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace the table in a page")
    arguments = parser.parse_args()
    row = simulated_row if arguments.virtual else measured_row
    lines = [row(engine, policy).to_line() for engine in ENGINES for policy in POLICIES]
    table = "\n".join([HEADER, *lines])
    print(table)
    if arguments.write:
        write_section(arguments.write, "deadline-virtual" if arguments.virtual else "deadline", table)


if __name__ == "__main__":
    main()
