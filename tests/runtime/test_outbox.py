from __future__ import annotations

import pytest

from deblurrt.runtime.outbox import Outbox
from deblurrt.runtime.terminal import Result, Terminal
from tests.fakes import plain_frame


def results(count: int) -> list[Result]:
    frames = [plain_frame(seq) for seq in range(count)]
    return [Result(frame, frame.pixels, Terminal.DEBLURRED) for frame in frames]


class Told:
    """Remembers which frames reached the sink and which were skipped."""

    def __init__(self) -> None:
        self.emitted: list[int] = []
        self.skipped: list[int] = []

    def __call__(self, sink: str, result: Result, emit_ms: float | None) -> None:
        (self.skipped if emit_ms is None else self.emitted).append(result.frame.seq)


def drain(outbox: Outbox) -> None:
    while (result := outbox.get(0)) is not None:
        outbox.done(result)


@pytest.mark.parametrize(("keeps_newest", "taken"), [(True, [3, 4]), (False, [0, 1])])
def test_full_queue_skips_the_oldest_or_the_newest_and_says_so(keeps_newest: bool, taken: list[int]) -> None:
    told = Told()
    outbox = Outbox("view", 2, keeps_newest, told)
    for result in results(5):
        outbox.put(result)
        assert outbox.counts.is_balanced
    drain(outbox)
    assert told.emitted == taken
    assert sorted(told.emitted + told.skipped) == list(range(5))
    counts = outbox.counts
    assert (counts.handed, counts.emitted, counts.skipped, counts.queued) == (5, 2, 3, 0)


def test_failed_sink_is_accounted_for_to_the_last_frame() -> None:
    told = Told()
    outbox = Outbox("file", 10, False, told)
    for result in results(4):
        outbox.put(result)
    in_hand = outbox.get(0)
    assert in_hand is not None
    outbox.fail("disk full")
    outbox.done(in_hand)  # comes back too late to count
    outbox.put(results(5)[4])
    counts = outbox.counts
    assert (counts.handed, counts.emitted, counts.skipped, counts.queued) == (5, 0, 5, 0)
    assert counts.error == "disk full"


def test_finished_queue_hands_out_the_rest_and_takes_no_more() -> None:
    told = Told()
    outbox = Outbox("file", 10, False, told)
    first, second, third = results(3)
    outbox.put(first)
    outbox.put(second)
    outbox.finish()
    outbox.put(third)
    assert not outbox.is_over
    drain(outbox)
    assert (told.emitted, told.skipped, outbox.is_over) == ([0, 1], [2], True)
