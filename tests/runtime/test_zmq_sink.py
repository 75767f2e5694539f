from __future__ import annotations

import time

import numpy as np
import pytest
import zmq

from deblurrt.core.errors import ContractError, UsageError
from deblurrt.runtime.terminal import Terminal
from deblurrt.runtime.zmq_sink import ZmqSink, message_of, picture_of

from .results import result

PATIENCE_MS = 10_000


def test_message_is_read_as_it_was_written() -> None:
    shown = result(5, state=Terminal.PASS_DEADLINE)
    picture = picture_of(message_of(shown, shown.restored))
    assert np.array_equal(picture.pixels, shown.restored)
    assert picture.head == {
        "stream": "camera",
        "seq": 5,
        "epoch": 2,
        "t_capture_ns": 5000,
        "state": "pass_deadline",
        "reason": "why",
        "height": 6,
        "width": 8,
    }


@pytest.mark.parametrize("message", [b"", b"\x00\x00\x00\x02{}", b"\xff\xff\xff\xff{}", b"\x00\x00\x00\x02[]abc"])
def test_other_messages_are_refused(message: bytes) -> None:
    with pytest.raises(ContractError, match="holds no picture"):
        picture_of(message)


def test_slow_subscriber_gets_the_newest_and_the_writer_never_waits() -> None:
    sink = ZmqSink("tcp://127.0.0.1:*")
    context = zmq.Context()
    subscriber = context.socket(zmq.SUB)
    subscriber.setsockopt(zmq.CONFLATE, 1)
    subscriber.setsockopt(zmq.SUBSCRIBE, b"")
    subscriber.connect(sink.endpoint)
    try:
        seq = 0
        while not subscriber.poll(20):  # until the subscription has arrived
            sink.write(result(seq))
            seq += 1
            assert seq * 20 < PATIENCE_MS
        last = seq + 50
        for later in range(seq, last + 1):
            sink.write(result(later))
        end_s, received = time.monotonic() + PATIENCE_MS / 1e3, -1
        pictures = 0
        while received < last and time.monotonic() < end_s:
            if subscriber.poll(100):
                received = picture_of(subscriber.recv()).head["seq"]
                pictures += 1
        assert received == last
        assert pictures <= last - seq + 2
    finally:
        subscriber.close(linger=0)
        context.term()
        sink.close()
        sink.give_up()


def test_taken_and_malformed_addresses_are_usage_errors() -> None:
    sink = ZmqSink("tcp://127.0.0.1:*")
    for endpoint in (sink.endpoint, "tcp://nonsense"):
        with pytest.raises(UsageError, match="choose another address"):
            ZmqSink(endpoint)
    sink.close()
