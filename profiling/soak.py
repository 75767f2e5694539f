"""A long run with everything on, watched for what grows: ``python -m deblurrt.profiling.soak --minutes 20``.

A test picture through the network ``identity`` into a recording, the browser view with one viewer and a
sink that is too slow, with a ledger. Memory, file descriptors, threads and shared memory are looked at
every other second. ``--speed 4`` plays the same minutes in a quarter of the time.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.backend import BackendConfig
from ..runtime.live_job import LiveJobConfig, run_live
from ..runtime.live_runner import LiveConfig
from ..runtime.session import SessionConfig, open_session
from ..runtime.source_uris import size_of_text
from ..runtime.synthetic_source import SyntheticConfig, SyntheticSource
from .page_sections import write_section
from .soak_sinks import RotatingRecording, SlowSink, Viewed
from .view_watchers import Watchers

#: of resident memory, per 10,000 frames after the warm-up
SLOPE_MAX_MIB = 1.0
MISSED = 3
SECTION = "soak"
LOOK_S = 2.0
#: a first short run loads every library and starts the pools that stay
FIRST_S = 3.0
#: threads of a pool that was told to end need a moment
REST_S = 2.0
#: share of a run in which memory may still settle: queues fill, allocators find their size
WARM_UP_SHARE = 0.2

HEADER = (
    "| minutes | speed | frames | size | MiB per 10,000 frames | MiB first, last, most | files | threads | "
    "shared memory | account | recorded | seen in the view | verdict |\n|" + "---|" * 13
)


@dataclass(frozen=True, slots=True)
class SoakConfig:
    """What runs for how long.

    Attributes:
        minutes: Of the camera's time.
        fps: Frames per second of the camera.
        size: Height and width, pixels.
        speed: By how much everything is faster than the camera.
    """

    minutes: float = 20.0
    fps: float = 30.0
    size: tuple[int, int] = (720, 1280)
    speed: float = 1.0

    @property
    def seconds(self) -> float:
        """How long the run takes."""
        return self.minutes * 60 / self.speed


@dataclass(frozen=True, slots=True)
class Held:
    """What this process holds at one moment.

    Attributes:
        frames: Captured so far.
        resident_mib: Memory.
        files: Open file descriptors.
        threads: Of the process, whoever started them.
        shared: Segments under ``/dev/shm``, those of other programs too.
    """

    frames: int
    resident_mib: float
    files: int
    threads: int
    shared: int


@dataclass(frozen=True, slots=True)
class Soak:
    """What a run left behind.

    Attributes:
        config: What ran.
        before: After the first short run.
        after: After the long one.
        looks: While it ran.
        summary: The account of the run.
        recorded_mib: Written into recordings, together.
        seen: Pictures the viewer got.
    """

    config: SoakConfig
    before: Held
    after: Held
    looks: Sequence[Held]
    summary: dict[str, Any]
    recorded_mib: float
    seen: int

    @property
    def slope_mib(self) -> float:
        """Growth of the resident memory, MiB per 10,000 frames: least squares after the warm-up."""
        looks = settled(self.looks)
        frames = np.array([look.frames for look in looks], np.float64)
        resident = np.array([look.resident_mib for look in looks])
        return float(np.polyfit(frames, resident, 1)[0] * 10_000)

    def misses(self, slope_max_mib: float = SLOPE_MAX_MIB) -> list[str]:
        """What is not as wanted; empty where everything is."""
        before, after, found = self.before, self.after, []
        if self.slope_mib >= slope_max_mib:
            found.append(
                f"memory grows by {self.slope_mib:.2f} MiB per 10,000 frames, at most {slope_max_mib:g} wanted"
            )
        for name in ("files", "threads", "shared"):
            if getattr(after, name) > getattr(before, name):
                found.append(f"{name}: {getattr(before, name)} before, {getattr(after, name)} after")
        found += self.summary["imbalances"]
        if self.summary["incomplete"]:
            found.append(str(self.summary["incomplete"]))
        return found

    def to_line(self) -> str:
        """One row under ``HEADER``."""
        config, before, after = self.config, self.before, self.after
        resident = [look.resident_mib for look in settled(self.looks)]
        states = self.summary["states"]
        cells = (
            f"{config.minutes:g}",
            f"{config.speed:g}",
            str(self.summary["captured"]),
            f"{config.size[0]}x{config.size[1]}",
            f"{self.slope_mib:+.2f}",
            f"{resident[0]:.0f}, {resident[-1]:.0f}, {max(resident):.0f}",
            f"{before.files} → {after.files}",
            f"{before.threads} → {after.threads}",
            f"{before.shared} → {after.shared}",
            f"{states.get('deblurred', 0)} deblurred, {'balances' if not self.summary['imbalances'] else 'does not'}",
            f"{self.recorded_mib:.0f} MiB",
            str(self.seen),
            "; ".join(self.misses()) or "kept",
        )
        return f"| {' | '.join(cells)} |"


@dataclass(slots=True)
class Looker:
    """Looks at the process while it runs, and ends the run when its time is over.

    Attributes:
        end_s: When the run ends, ``time.monotonic()``.
        view: Gets the status.
        stop: Ends the run.
        looks: What was seen.
    """

    end_s: float
    view: Viewed
    stop: threading.Event = field(default_factory=threading.Event)
    looks: list[Held] = field(default_factory=list)
    _next_s: float = 0.0

    def __call__(self, summary: dict[str, Any]) -> None:
        if time.monotonic() >= self.end_s:
            self.stop.set()
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + LOOK_S
            self.looks.append(held(summary["captured"]))
            self.view.status(summary)


def settled(looks: Sequence[Held]) -> Sequence[Held]:
    """Leave out those of the warm-up."""
    return [look for look in looks if look.frames >= WARM_UP_SHARE * looks[-1].frames]


def held(frames: int = 0) -> Held:
    """Look at this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Held(
        frames,
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        _entries("/proc/self/fd"),
        _entries("/proc/self/task"),
        _entries("/dev/shm"),
    )


def _entries(folder: str) -> int:
    place = Path(folder)
    return sum(1 for _ in place.iterdir()) if place.is_dir() else 0


def soak(config: SoakConfig) -> Soak:
    """Run briefly, look, run long, look again."""
    folder = Path(tempfile.mkdtemp(prefix="deblurrt-soak-"))
    try:
        _run(config, FIRST_S, folder)
        before = _rested()
        summary, looks, recorded_bytes, seen = _run(config, config.seconds, folder)
        return Soak(config, before, _rested(), looks, summary, recorded_bytes / 2**20, seen)
    finally:
        shutil.rmtree(folder)


def _run(config: SoakConfig, seconds: float, folder: Path) -> tuple[dict[str, Any], Sequence[Held], int, int]:
    rate = config.fps * config.speed
    source = SyntheticSource("synthetic", SyntheticConfig(size=config.size, fps=rate))
    recording, view = RotatingRecording(folder, rate), Viewed()
    look = Looker(time.monotonic() + seconds, view)
    options = SessionConfig(model="identity", backend="onnxruntime", options=BackendConfig(threads=1))
    # time enough for this machine's hiccups: what is late is not what is looked for here
    live = LiveJobConfig(LiveConfig(deadline_ms=4e3 / rate), ledger=folder / "frames.jsonl", force=True)
    with Watchers(view.url) as watchers:
        summary = run_live(
            [source], lambda: [open_session("identity", options)], [recording, view, SlowSink()], live, look, look.stop
        )
    return summary, look.looks, recording.bytes, watchers.pictures


def _rested() -> Held:
    """What is held once everything that ends has ended."""
    gc.collect()
    time.sleep(REST_S)
    return held()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print, or write the page; 3 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="of the camera's time")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--size", type=size_of_text, default=(720, 1280), metavar="HxW")
    parser.add_argument("--speed", type=float, default=1.0, help="4 plays the same in a quarter of the time")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace the table in a page")
    given = parser.parse_args(arguments)
    result = soak(SoakConfig(given.minutes, given.fps, given.size, given.speed))
    table = f"{HEADER}\n{result.to_line()}"
    print(table)
    if given.write:
        write_section(given.write, SECTION, table)
    return MISSED if result.misses() else 0


if __name__ == "__main__":
    sys.exit(main())
