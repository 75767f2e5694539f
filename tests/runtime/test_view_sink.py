from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pytest

from deblurrt.runtime.frame import Frame
from deblurrt.runtime.terminal import Result, Terminal
from deblurrt.runtime.view_sink import ViewConfig, ViewSink, update_of

BLURRED, SHARP = np.zeros((4, 6, 3), np.uint8), np.ones((4, 6, 3), np.uint8)
RESULT = Result(
    Frame(BLURRED, 5, 1_000_000, "camera"),
    SHARP,
    Terminal.DEBLURRED,
    deadline_ns=34_000_000,
    stages_ms=(("queue", 1.5), ("network", 20.0)),
)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "192.168.1.2", "board.lan", "")),
    ],
)
def test_loopback_is_told_from_other_hosts(host: str, is_loopback: bool) -> None:
    assert ViewConfig(host=host).is_loopback is is_loopback


def test_given_token_is_kept() -> None:
    with ViewSink(ViewConfig(port=0, host="0.0.0.0", token="given")) as view:
        assert urlsplit(view.url).query == "token=given"


def test_restored_frame_is_shown_beside_the_untouched_one() -> None:
    shown = update_of(RESULT)
    assert (shown.stream, shown.seq, shown.state, shown.t_capture_ns) == ("camera", 5, "deblurred", 1_000_000)
    assert (shown.untouched is BLURRED, shown.restored is SHARP) == (True, True)
    assert (shown.latency_ms, shown.deadline_ms) == (21.5, 33.0)


@pytest.mark.parametrize("state", [state for state in Terminal if state is not Terminal.DEBLURRED])
def test_any_other_frame_is_shown_as_passed(state: Terminal) -> None:
    shown = update_of(replace(RESULT, state=state, reason="why", deadline_ns=None))
    assert (shown.restored, shown.state, shown.reason, shown.deadline_ms) == (None, state.value, "why", None)
