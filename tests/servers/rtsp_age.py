"""How old a frame is when a source gives it, by the time painted into it: python -m tests.servers.rtsp_age

Server and source are on this machine, so that both read one clock; the age holds encoding, network,
decoding and the way between processes.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Literal

from deblurrt.runtime.gst_bindings import has_gstreamer
from deblurrt.runtime.source_uris import LiveOptions, open_live_source

from .listening import Listener
from .server_process import ServerProcess

#: frames before the count begins: the first ones are behind, while processes are still starting
SETTLING = 15

#: age allowed, in frame periods
LIMITS = {"gstreamer": 0.6, "pyav": 1.6, "http": 0.6}

Reader = Literal["gstreamer", "pyav", "http"]


@dataclass(frozen=True)
class Age:
    """Ages of a run, milliseconds, and from opening to the first frame."""

    reader: Reader
    fps: float
    ages_ms: tuple[float, ...]
    opened_ms: float

    def percentile(self, share: float) -> float:
        ordered = sorted(self.ages_ms)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    @property
    def periods(self) -> float:
        """Median, in frame periods."""
        return self.percentile(0.5) * self.fps / 1000


def measure(reader: Reader, fps: float, size: str = "96x320", frames: int = 90) -> Age:
    kind, scheme = ("mjpeg", "http") if reader == "http" else ("rtsp", "rtsp")
    options = LiveOptions(reader="auto" if reader == "http" else reader)
    with ServerProcess(kind, "--fps", str(fps), "--size", size) as server:
        began_s = time.monotonic()
        with Listener(open_live_source(f"{scheme}://127.0.0.1:{server.port}/live", options)) as heard:
            heard.until_frames(1)
            opened_ms = (time.monotonic() - began_s) * 1000
            heard.until_frames(frames + SETTLING)
    return Age(reader, fps, tuple(heard.ages_ms[SETTLING:]), opened_ms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="720x1280")
    parser.add_argument("--fps", type=float, nargs="+", default=[10.0, 30.0, 60.0])
    parser.add_argument("--frames", type=int, default=240)
    arguments = parser.parse_args()
    readers: list[Reader] = ["pyav", "http", *(["gstreamer"] if has_gstreamer() else [])]  # type: ignore[list-item]
    print(f"{arguments.size}, {arguments.frames} frames each")
    print("| reader | fps | opened ms | p50 ms | p90 ms | p99 ms | p50 periods | allowed |")
    print("|---|---|---|---|---|---|---|---|")
    for reader in readers:
        for fps in arguments.fps:
            age = measure(reader, fps, arguments.size, arguments.frames)
            p50, p90, p99 = (age.percentile(share) for share in (0.5, 0.9, 0.99))
            print(
                f"| {reader} | {fps:g} | {age.opened_ms:.0f} | {p50:.1f} | {p90:.1f} | {p99:.1f} "
                f"| {age.periods:.2f} | {LIMITS[reader]} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
