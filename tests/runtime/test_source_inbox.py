from __future__ import annotations

import threading

import numpy as np

from deblurrt.runtime.frame import Frame
from deblurrt.runtime.live_source import SourceEvent
from deblurrt.runtime.source_inbox import TOO_SLOW, SourceInbox


def frame(seq: int) -> Frame:
    return Frame(np.zeros((2, 2, 3), np.uint8), seq, 0)


def read_inbox() -> SourceInbox:
    """An inbox that somebody reads."""
    inbox = SourceInbox("cam")
    inbox.get(0.0)
    return inbox


def said(inbox: SourceInbox) -> list[int | str]:
    """Numbers of frames, and kinds of events with their counts."""
    found: list[int | str] = []
    while (item := inbox.get(0.0)) is not None:
        found.append(item.seq if isinstance(item, Frame) else f"{item.kind} {item.count}")
    return found


def test_items_come_in_order() -> None:
    inbox = SourceInbox("cam")
    inbox.put(SourceEvent("opened", "", 0))
    inbox.put(frame(0))
    inbox.put(frame(1))
    assert said(inbox) == ["opened 0", 0, 1]


def test_frames_nobody_takes_become_one_gap_where_they_stood() -> None:
    inbox = read_inbox()
    for seq in range(1000):
        inbox.put(frame(seq))
    assert said(inbox) == ["gap 998", 998, 999]


def test_frames_from_before_anybody_read_are_not_missed() -> None:
    inbox = SourceInbox("cam")
    for seq in range(1000):
        inbox.put(frame(seq))
        inbox.put_gap("lost on the way", 0, 1)
    assert said(inbox) == [998, 999]
    inbox.put_gap("lost on the way", 0, 1)
    assert said(inbox) == ["gap 1"]


def test_events_between_frames_stay() -> None:
    inbox = read_inbox()
    for seq in range(3):
        inbox.put(frame(seq))
        inbox.put(SourceEvent("epoch", f"{seq}", seq))
    assert said(inbox) == ["gap 1", "epoch 0", 1, "epoch 0", 2, "epoch 0"]


def test_gaps_tell_their_reason_apart() -> None:
    inbox = read_inbox()
    inbox.put_gap("lost on the way", 0, 2)
    inbox.put_gap("lost on the way", 0, 3)
    inbox.put_gap(TOO_SLOW, 0, 1)
    inbox.put_gap(TOO_SLOW, 0, 0)
    assert said(inbox) == ["gap 5", "gap 1"]


def test_what_is_inside_when_it_finishes_is_still_given() -> None:
    inbox = SourceInbox("cam")
    inbox.put(frame(0))
    inbox.finish()
    inbox.put(frame(1))
    assert said(inbox) == [0]


def test_close_drops_what_is_inside_and_ends_a_waiting_reader() -> None:
    inbox = SourceInbox("cam")
    threading.Timer(0.05, inbox.close).start()
    assert inbox.get(60.0) is None
    inbox.put(frame(0))
    assert inbox.get(60.0) is None
