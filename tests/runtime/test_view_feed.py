from __future__ import annotations

import json
import math
from dataclasses import replace

from deblurrt.runtime.view_feed import REMEMBERED, ViewFeed

from .view_clients import update


def test_newest_frame_replaces_the_one_before() -> None:
    feed = ViewFeed()
    feed.put(update(0))
    feed.put(update(1))
    newest = feed.latest("camera")
    assert newest is not None
    assert (newest[0], newest[1].seq) == (2, 1)


def test_streams_are_kept_apart() -> None:
    feed = ViewFeed()
    feed.put(update(0, stream="front"))
    feed.put(update(0, stream="rear", state="pass_deadline"))
    feed.put(update(1, stream="rear"))
    assert feed.streams == ["front", "rear"]
    assert feed.totals()["front"].states == {"deblurred": 1}
    assert feed.totals()["rear"].states == {"pass_deadline": 1, "deblurred": 1}


def test_every_outcome_is_told_once() -> None:
    feed = ViewFeed()
    told: list[int] = []
    for seq in range(30):
        feed.put(update(seq))
        if seq % 7 == 0:
            told += [number for number, *_ in feed.outcomes_since("camera", told[-1] if told else 0)]
    told += [number for number, *_ in feed.outcomes_since("camera", told[-1])]
    assert told == list(range(1, 31))


def test_outcomes_of_a_long_run_are_forgotten() -> None:
    feed = ViewFeed()
    for seq in range(REMEMBERED + 50):
        feed.put(update(seq))
    outcomes = feed.outcomes_since("camera", 0)
    assert [outcomes[0][0], outcomes[-1][0]] == [51, REMEMBERED + 50]
    assert feed.totals()["camera"].states == {"deblurred": REMEMBERED + 50}


def test_numbers_json_cannot_hold_become_none() -> None:
    feed = ViewFeed()
    feed.put(replace(update(0), latency_ms=math.nan, deadline_ms=math.inf))
    feed.put_status({"device": {"temperature": math.nan}, "path": object})
    assert feed.outcomes_since("camera", 0) == [(1, "deblurred", None, None)]
    assert json.loads(json.dumps(feed.status[1], allow_nan=False))["device"] == {"temperature": None}


def test_status_may_change_after_it_was_put() -> None:
    feed = ViewFeed()
    status = {"streams": [{"captured": 1}]}
    feed.put_status(status)
    status["streams"][0]["captured"] = 2
    assert feed.status == (1, {"streams": [{"captured": 1}]})


def test_unknown_streams_have_nothing() -> None:
    feed = ViewFeed()
    assert (feed.latest("camera"), feed.version("camera"), feed.outcomes_since("camera", 0)) == (None, 0, [])


def test_every_change_is_announced() -> None:
    feed = ViewFeed()
    seen: list[None] = []
    feed.watch(lambda: seen.append(None))
    feed.put(update(0))
    feed.put_status({})
    feed.watch(None)
    feed.put(update(1))
    assert len(seen) == 2
