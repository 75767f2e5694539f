"""What a live run knows of a camera: rate and deadline."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deblurrt.runtime.frame import Frame
from deblurrt.runtime.live_lane import USUAL_PERIOD_NS
from deblurrt.runtime.live_runner import LiveConfig, LiveRunner
from tests.fakes import unchanged
from tests.live_fakes import KeptResults, ScriptedSource, scripted_session, textured

MS = 1_000_000


@pytest.mark.parametrize(
    ("deadline_ms", "first_ns", "later_ns"),
    [(None, USUAL_PERIOD_NS, 100 * MS), (50.0, 50 * MS, 50 * MS)],
    ids=["one period", "asked for"],
)
def test_deadline_of_a_camera_that_does_not_say_its_rate_is_a_period_as_observed(
    deadline_ms: float | None, first_ns: int, later_ns: int
) -> None:
    source: ScriptedSource

    def script() -> Iterator[Frame | float]:
        for seq, fps in enumerate([None, 1000.0, 10.0, 10.1, 9.9]):
            source.fps = fps
            yield Frame(textured(seq), seq, 0)
            yield 0.01

    source, sink = ScriptedSource(script(), fps=None), KeptResults()
    runner = LiveRunner([source], [scripted_session(unchanged)], [[sink]], LiveConfig(deadline_ms))
    runner.run()
    deadlines_ns = [(result.deadline_ns or 0) - result.frame.t_capture_ns for result in sink.results]
    assert deadlines_ns == [first_ns] * 2 + [later_ns] * 3
    assert runner.ledgers[0].source.period_ns == 100 * MS
