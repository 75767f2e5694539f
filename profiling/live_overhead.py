"""What the live runtime adds to an engine, from capture to the sink.

``python -m deblurrt.profiling.live_overhead``: 720p at 30 frames per second, an engine that takes
10 ms, guard and account included; the source, the sink and the engine itself cost next to nothing.
With ``--isolate`` the engine is in a process of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..runtime.live_runner import LiveConfig
from .page_sections import write_section
from .scripted_runs import MovingPicture, measure_overhead

ENGINE_MS = 10.0
SIZE = (720, 1280)
FPS = 30
SECTION = "overhead"
P50_MAX_MS, P99_MAX_MS = 3.0, 10.0


def main() -> None:
    """Measure and print, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--isolate", action="store_true", help="the engine in a process of its own")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace the table in a page")
    arguments = parser.parse_args()
    config = LiveConfig(deadline_ms=50)
    count = FPS * arguments.seconds
    picture = MovingPicture(SIZE, FPS, count)
    measured = measure_overhead(ENGINE_MS, config, picture, isolate=arguments.isolate)
    ledger, added = measured.ledger, measured.added
    report, p50, p99 = added.report("added"), added.percentile("added", "p50"), added.percentile("added", "p99")
    table = (
        "| frames | deblurred | added p50 ms | added p99 ms | added most ms | wanted |\n|---|---|---|---|---|---|\n"
        f"| {ledger.captured} | {report.count} | {p50} | {p99} | {report.max} "
        f"| p50 at most {P50_MAX_MS:.0f}, p99 at most {P99_MAX_MS:.0f} |"
    )
    print(table)
    print(f"opened in {measured.opened_s:.2f} s")
    if arguments.write:
        write_section(arguments.write, SECTION, table)


if __name__ == "__main__":
    main()
