from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from deblurrt.core.errors import MachineError
from deblurrt.profiling import view_latency
from deblurrt.profiling.headless_browser import HeadlessBrowser, Page, find_browser
from deblurrt.profiling.view_latency import Producer, main, measure
from deblurrt.runtime.view_sink import ViewConfig, ViewSink
from tests.servers.quiet import busy_reason

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed")

#: small and slow: any machine keeps up, however busy
SIZE, FPS = (144, 256), 10.0


@pytest.mark.fault("W2", "page opened by a name over plain HTTP", "works without WebCodecs, no console error")
@needs_browser
def test_page_works_from_another_machine_where_browsers_trust_it_less(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--insecure", "--seconds", "1", "--fps", "5"]) == 0
    latency = json.loads(capsys.readouterr().out)
    assert latency["errors"] == []
    assert latency["frames"] > 0
    assert 0 < latency["p50_ms"] <= latency["p90_ms"] <= latency["p99_ms"]
    assert (latency["is_secure"], latency["has_webcodecs"]) == (False, False)


@pytest.mark.full
@needs_browser
@pytest.mark.fault("W1", "pictures with a painted time, 15 per second, 360x640", "p50 < 2 periods, no console error")
def test_pictures_are_young_when_they_are_drawn(fault_result: Callable[[str], None]) -> None:
    if reason := busy_reason():
        pytest.skip(f"this machine is too busy to measure: {reason}")
    seen = asyncio.run(measure((360, 640), 15.0, 4.0))
    assert seen.errors == ()
    assert seen.p50_periods < 2
    fault_result(f"p50 {seen.p50_ms:.0f} ms ({seen.p50_periods:.1f} periods), {seen.fps:.0f} per second")


@pytest.mark.fault("W1", "frames, then none", "states and chart follow; no console error")
@needs_browser
def test_page_says_what_is_going_on() -> None:
    text_of = "document.getElementById('%s').textContent"

    async def look(page: Page, view: ViewSink) -> None:
        await page.open(view.url)
        await page.wait_for(f"{text_of % 'connection'} === 'waiting for frames'", 20.0)
        with Producer(view, SIZE, FPS):
            await page.wait_for(f"{text_of % 'connection'}.startsWith('live')", 20.0)
            await page.wait_for(f"{text_of % 'legend'}.startsWith('deblurred')", 20.0)
            view.status({"model": "default", "device": {"processor": "any"}, "streams": [{"stream": "test picture"}]})
            await page.wait_for(f"{text_of % 'model'} === 'default'", 20.0)
            assert await page.evaluate(text_of % "device") == "processorany"
            assert await page.evaluate(text_of % "state") == "deblurred"
        await page.wait_for(f"{text_of % 'connection'} === 'no new frames'", 20.0)
        assert "old" in await page.evaluate(text_of % "veil")
        assert page.errors == []

    async def run() -> None:
        with ViewSink(ViewConfig(port=0)) as view:
            async with HeadlessBrowser(find_browser() or "") as browser, browser.page() as page:
                await look(page, view)

    asyncio.run(run())


@pytest.mark.full
@pytest.mark.fault("W1", "view gone and back", "Chromium connects again by itself")
@needs_browser
def test_page_connects_again_when_the_view_is_back() -> None:
    async def run() -> None:
        view = ViewSink(ViewConfig(port=0))
        port = int(view.url.rstrip("/").rpartition(":")[2])
        async with HeadlessBrowser(find_browser() or "") as browser, browser.page() as page:
            await page.open(view.url)
            pill = "document.getElementById('connection').dataset.health"
            await page.wait_for("document.getElementById('connection').textContent === 'waiting for frames'", 20.0)
            view.close()
            await page.wait_for(f"{pill} === 'lost'", 20.0)
            with ViewSink(ViewConfig(port=port)) as again, Producer(again, SIZE, FPS):
                await page.wait_for(f"{pill} === 'streaming'", 20.0)

    asyncio.run(run())


@pytest.mark.full
@pytest.mark.fault("W1", "divider moved", "untouched left of it, restored right of it")
@needs_browser
def test_divider_decides_what_is_seen_where() -> None:
    """Left of the divider lies the untouched picture; at the right end there is only that one."""
    sum_of = """(() => { const at = document.getElementById('picture');
      const data = at.getContext('2d').getImageData(0, 64, at.width, 1).data;
      return Array.from(data).reduce((sum, value) => sum + value); })()"""
    move = """((value) => { const split = document.getElementById('split');
      split.value = value; split.dispatchEvent(new Event('input')); })(%d)"""

    async def run() -> list[int]:
        sums: list[int] = []
        with ViewSink(ViewConfig(port=0)) as view:
            async with HeadlessBrowser(find_browser() or "") as browser, browser.page() as page:
                await page.open(view.url)
                with Producer(view, SIZE, FPS):
                    await page.wait_for("!document.getElementById('stage').classList.contains('empty')", 20.0)
                await page.wait_for("document.getElementById('connection').textContent === 'no new frames'", 20.0)
                for share in (0, 500, 1000, 0):
                    await page.evaluate(move % share)
                    sums.append(await page.evaluate(sum_of))
        return sums

    restored, both, untouched, again = asyncio.run(run())
    assert restored == again
    assert len({restored, both, untouched}) == 3


def test_missing_browser_is_said_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(view_latency, "find_browser", lambda: None)
    assert main([]) == MachineError.exit_code
    assert "apt-get install chromium" in capsys.readouterr().err
