from __future__ import annotations

import asyncio

import pytest

from deblurrt.profiling.headless_browser import HeadlessBrowser, Page, find_browser
from deblurrt.profiling.view_latency import Producer
from deblurrt.runtime.view_sink import ViewConfig, ViewSink

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed")

SIZE, FPS = (144, 256), 10.0
#: what stands where there is no figure, an en dash
NONE = "\u2013"
STREAM = {
    "stream": "test picture",
    "health": "streaming",
    "states": {"deblurred": 150, "pass_deadline": 50},
    "deblur_coverage": 0.75,
    "deadline_miss_rate": 0.005,
    "stall_s": 2.5,
    "latency_ms": {"count": 200, "p50": 12.5, "p90": 30.0, "p99": None, "p99.9": None, "max": 41.0},
}


@needs_browser
def test_page_shows_the_percentiles_of_the_account_and_coverage_beside_lateness() -> None:
    async def look(page: Page, view: ViewSink) -> None:
        await page.open(view.url)
        with Producer(view, SIZE, FPS):
            view.status({"streams": [STREAM]})
            percentiles = "document.getElementById('percentiles')"
            await page.wait_for(f"{percentiles}.textContent.startsWith('p5013p9030')", 20.0)
            assert await page.evaluate(f"{percentiles}.textContent") == f"p5013p9030p99{NONE}p99.9{NONE}max41"
            assert await page.evaluate(f"{percentiles}.children[2].title") == "n too small: 200 frames"
            assert (await page.evaluate("document.getElementById('deadline').textContent")).startswith("all 200 frames")
            sources = await page.evaluate("document.getElementById('sources').textContent")
            assert "75.0 % deblurred · 0.5 % late · stalled 2.5 s" in sources
        assert page.errors == []

    async def run() -> None:
        with ViewSink(ViewConfig(port=0)) as view:
            async with HeadlessBrowser(find_browser() or "") as browser, browser.page() as page:
                await look(page, view)

    asyncio.run(run())


@needs_browser
def test_a_held_picture_stays_while_those_that_come_are_counted_and_let_go() -> None:
    count_closed = "const close = ImageBitmap.prototype.close; window.letGo = 0;" + (
        "ImageBitmap.prototype.close = function () { window.letGo++; return close.call(this); };"
    )

    async def look(page: Page, view: ViewSink) -> None:
        await page.open(view.url, first=count_closed)
        with Producer(view, SIZE, FPS):
            await page.wait_for("document.getElementById('facts').textContent.includes('frame')", 20.0)
            held = await page.evaluate(
                "document.getElementById('hold').click(), document.getElementById('facts').textContent"
            )
            await page.evaluate("window.letGo = 0")
            await page.wait_for("window.letGo >= 4", 20.0)
            assert await page.evaluate("document.getElementById('facts').textContent") == held
            assert "0.0 fps" not in await page.evaluate("document.getElementById('connection').textContent")
        assert page.errors == []

    async def run() -> None:
        with ViewSink(ViewConfig(port=0)) as view:
            async with HeadlessBrowser(find_browser() or "") as browser, browser.page() as page:
                await look(page, view)

    asyncio.run(run())
