"""How old the browser view's picture is when it is drawn: ``python -m deblurrt.profiling.view_latency``.

A test picture carries the time it was made at; a script in headless Chromium reads it back from the
canvas right after the page has drawn it. Screen and network add to that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..core.errors import DeblurrtError, MachineError
from ..runtime.synthetic_source import SyntheticConfig, SyntheticPicture
from ..runtime.time_code import CELL_PX
from ..runtime.view_sink import ViewConfig, ViewSink, ViewUpdate
from .headless_browser import HeadlessBrowser, Page, find_browser

#: a name that leads here and is no loopback name: the page's origin is then not a secure one
INSECURE_NAME = "board.lan"

#: reads the time code from the canvas, after the page's own drawing, in microseconds of the wall clock
_READER = """
globalThis.ages = []; globalThis.lastCode = 0;
const corner = new OffscreenCanvas(256, 16).getContext("2d", { willReadFrequently: true });
addEventListener("drawn", ({ target }) => {
  if (target.width < 256) return;
  corner.drawImage(target, 0, 0, 256, 16, 0, 0, 256, 16);
  const data = corner.getImageData(0, 0, 256, 16).data, cell = %d;
  const now = performance.timeOrigin + performance.now();
  let value = 0;
  for (let bit = 63; bit >= 8; bit--) {
    const x = (bit %% 32) * cell + cell / 2, y = Math.floor(bit / 32) * cell + cell / 2;
    value = value * 2 + (data[4 * (y * 256 + x) + 1] > 127 ? 1 : 0);
  }
  const age = now - value / 1000;
  if (value !== globalThis.lastCode && age > -1000 && age < 60000) {
    globalThis.lastCode = value;
    globalThis.ages.push(age);
  }
}, true);
"""


@dataclass(frozen=True, slots=True)
class ViewLatency:
    """Age of pictures when drawn.

    Attributes:
        frames: Different pictures drawn.
        fps: The same per second.
        p50_ms: Median age; all ages from the making of the picture to after its drawing.
        p90_ms: 90th percentile.
        p99_ms: 99th percentile.
        p50_periods: Median in frame periods of the source.
        errors: What the page wrote to its console.
        is_secure: Whether the page's origin was a secure one.
        has_webcodecs: Whether the browser offered WebCodecs there.
    """

    frames: int
    fps: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p50_periods: float
    errors: tuple[str, ...]
    is_secure: bool
    has_webcodecs: bool


class Producer:
    """Writes test pictures into a view at a fixed rate, in a thread, until stopped.

    Args:
        view: Where to.
        size: Height and width, pixels.
        fps: Frames per second.
    """

    def __init__(self, view: ViewSink, size: tuple[int, int], fps: float) -> None:
        self._view, self._fps = view, fps
        self._picture = SyntheticPicture(SyntheticConfig(size=size, fps=fps, blur_px=25))
        self._sharp = SyntheticPicture(SyntheticConfig(size=size, fps=fps, blur_px=9))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Producer:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        start_s, index = time.perf_counter(), 0
        while not self._stopping.wait(max(0.0, start_s + index / self._fps - time.perf_counter())):
            # Browsers know the wall clock only; both processes read the same one.
            made_ns, captured_ns = time.time_ns(), time.monotonic_ns()
            untouched = self._picture.frame_pixels(index, made_ns)
            restored = self._sharp.frame_pixels(index, made_ns)
            latency_ms = (time.monotonic_ns() - captured_ns) / 1e6
            period_ms = 1e3 / self._fps
            self._view.write(
                ViewUpdate(
                    "test picture", index, untouched, restored, "deblurred", "", latency_ms, period_ms, captured_ns
                )
            )
            index += 1


async def measure(
    size: tuple[int, int] = (720, 1280), fps: float = 30.0, duration_s: float = 10.0, *, is_secure: bool = True
) -> ViewLatency:
    """Show a test picture in headless Chromium and read its age there.

    Args:
        size: Height and width, pixels.
        fps: Frames per second.
        duration_s: How long to watch, after the first second.
        is_secure: Whether to go by a loopback address, which browsers trust, or by a name over plain
            HTTP, as from another machine, where WebCodecs does not exist.

    Raises:
        MachineError: There is no Chromium, or the page does not work.
    """
    browser_path = _needed_browser()
    switches = () if is_secure else (f"--host-resolver-rules=MAP {INSECURE_NAME} 127.0.0.1",)
    with ViewSink(ViewConfig(port=0, names=(INSECURE_NAME,))) as view, Producer(view, size, fps):
        url = view.url if is_secure else view.url.replace("127.0.0.1", INSECURE_NAME)
        async with HeadlessBrowser(browser_path, switches) as browser, browser.page() as page:
            return await _watch(page, url, fps, duration_s)


async def _watch(page: Page, url: str, fps: float, duration_s: float) -> ViewLatency:
    await page.open(url, first=_READER % CELL_PX)
    await page.wait_for("globalThis.ages?.length > 10", 20.0)
    await asyncio.sleep(1.0)
    await page.evaluate("globalThis.ages.length = 0")
    await asyncio.sleep(duration_s)
    ages = sorted(await page.evaluate("globalThis.ages.slice()"))
    if not ages:
        raise MachineError("the page drew no picture")
    p50, p90, p99 = (ages[max(len(ages) - 1 - int(len(ages) * (100 - percent) / 100), 0)] for percent in (50, 90, 99))
    return ViewLatency(
        frames=len(ages),
        fps=round(len(ages) / duration_s, 1),
        p50_ms=round(p50, 1),
        p90_ms=round(p90, 1),
        p99_ms=round(p99, 1),
        p50_periods=round(p50 * fps / 1e3, 3),
        errors=tuple(page.errors),
        is_secure=await page.evaluate("isSecureContext"),
        has_webcodecs=await page.evaluate("'VideoDecoder' in window"),
    )


async def take_screenshot(path: Path, *, is_dark: bool = False) -> None:
    """Write what the page looks like with a test picture after three seconds.

    Raises:
        MachineError: There is no Chromium, or the page does not work.
    """
    browser_path = _needed_browser()
    with ViewSink(ViewConfig(port=0)) as view, Producer(view, (720, 1280), 30.0):
        async with HeadlessBrowser(browser_path) as browser, browser.page() as page:
            await page.set_window((900, 1440), is_dark=is_dark)
            await page.open(view.url)
            await asyncio.sleep(3.0)
            await page.screenshot(path)


def _needed_browser() -> str:
    path = find_browser()
    if path is None:
        raise MachineError("no Chromium is installed; install it: apt-get install chromium")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line of JSON, and give the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--insecure", action="store_true", help="by a name over plain HTTP, as from another machine")
    parser.add_argument("--screenshot", type=Path, help="only look at the page; a PNG")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.screenshot is not None:
            asyncio.run(take_screenshot(chosen.screenshot))
            return 0
        latency = asyncio.run(measure(fps=chosen.fps, duration_s=chosen.seconds, is_secure=not chosen.insecure))
    except DeblurrtError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(asdict(latency)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
