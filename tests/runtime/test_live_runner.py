"""Live runs with threads: scripted cameras, networks and sinks; long deadlines, so that no clock decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from deblurrt.core.tensors import Array
from deblurrt.runtime import live_flow
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.live_runner import LiveConfig, LiveRunner
from deblurrt.runtime.live_source import SourceEvent
from deblurrt.runtime.live_worker import TIMED_RUNS
from deblurrt.runtime.session import Session
from deblurrt.runtime.terminal import Result, Terminal
from tests.fakes import unchanged
from tests.live_fakes import PATIENCE_S, KeptResults, ScriptedSource, camera_script, scripted_session, textured

#: no frame is late in these tests, however slow the machine
LEISURE = LiveConfig(deadline_ms=60_000)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
    assert set(threading.enumerate()) <= before


#: what preparing a network that is a function takes at most, nearly always; more costs a frame
WARM_UP_S = 0.1


class Paced:
    """A camera that gives the next frame only when the one before has gone out."""

    def __init__(self, count: int, first: list[Frame | SourceEvent] | None = None) -> None:
        self._count, self._first = count, first or []
        self._out = threading.Semaphore(1)
        self._is_warming = False

    def on_write(self, result: Result) -> None:
        self._is_warming = result.state is Terminal.PASS_WARMUP
        self._out.release()

    def script(self) -> Iterator[Frame | SourceEvent | float]:
        yield from self._first
        for seq in range(self._count):
            assert self._out.acquire(timeout=PATIENCE_S)
            if self._is_warming:
                yield WARM_UP_S
            yield Frame(textured(seq), seq, 0)


def run_paced(
    count: int, compute: Callable[[Array], Array], config: LiveConfig = LEISURE, **options: Any
) -> tuple[LiveRunner, KeptResults]:
    """Run frames one at a time through a network that is a function."""
    paced = Paced(count)
    sink = KeptResults(on_write=paced.on_write)
    runner = LiveRunner([ScriptedSource(paced.script())], [scripted_session(compute)], [[sink]], config, **options)
    runner.run()
    assert runner.imbalances == []
    assert sink.end == "closed"
    return runner, sink


def states(runner: LiveRunner) -> dict[str, int]:
    return {state.name: count for state, count in runner.ledgers[0].states.items()}


def test_first_frame_warms_up_and_the_others_are_deblurred() -> None:
    runner, sink = run_paced(10, lambda frames: frames - 1)
    assert states(runner)["PASS_WARMUP"] + states(runner)["DEBLURRED"] == 10
    assert states(runner)["DEBLURRED"] > 0
    for result in sink.results:
        offset = 1 if result.state is Terminal.DEBLURRED else 0
        assert np.array_equal(result.restored, result.frame.pixels - offset)


def fail_after_warm_up(error: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A network that works on pictures of its warm-up: blank ones, and the first frame."""
    first = textured(0)

    def compute(frames: Array) -> Array:
        is_warm_up = not frames.any() or np.array_equal(frames[0], first)
        return frames if is_warm_up else error(frames)

    return compute


def raising(_frames: Array) -> Array:
    raise ZeroDivisionError("a defect of the network")


def black(frames: Array) -> Array:
    return np.zeros_like(frames)


def inverted(frames: Array) -> Array:
    return 255 - frames


def too_small(frames: Array) -> Array:
    return frames[:, 4:]


def frozen() -> Callable[[Array], Array]:
    kept: list[Array] = []

    def compute(frames: Array) -> Array:
        kept.append(frames)
        return kept[0]

    return compute


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (raising, "a defect of the network"),
        (black, "black"),
        (inverted, "grey levels"),
        (too_small, "expected"),
        (frozen(), "same picture"),
    ],
    ids=["exception", "black", "nonsense", "shape", "frozen"],
)
def test_untouched_frame_goes_out_where_the_network_fails(network: Callable[[Array], Array], told: str) -> None:
    _, sink = run_paced(12, fail_after_warm_up(network))
    faults = [result for result in sink.results if result.state is Terminal.PASS_FAULT]
    assert len(faults) >= 5
    assert all(told in result.reason for result in faults)
    assert all(result.restored is result.frame.pixels for result in faults)


def test_network_that_fails_again_and_again_is_left_alone() -> None:
    calls: list[int] = []

    def compute(frames: Array) -> Array:
        calls.append(1)
        raise ZeroDivisionError("broken")

    runner, sink = run_paced(40, compute)
    assert len(calls) < 10
    assert states(runner)["PASS_FAULT"] >= 30
    assert "left alone after 5 failures" in sink.results[-1].reason


def test_size_the_network_does_not_take_goes_out_untouched() -> None:
    def compute(frames: Array) -> Array:
        from deblurrt.core.errors import ContractError

        raise ContractError("input 'frames' is 48x64, the network takes 720x1280")

    runner, sink = run_paced(10, compute)
    assert states(runner)["PASS_SHAPE"] + states(runner)["PASS_WARMUP"] == 10
    assert "720x1280" in sink.results[-1].reason


def test_hanging_network_is_replaced_and_frames_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_flow, "HANG_NS", 50_000_000)
    goes_on = threading.Event()
    hung: list[bool] = []

    def hang(frames: Array) -> Array:
        if not hung:
            hung.append(True)
            goes_on.wait(PATIENCE_S)
        return frames

    def reopen() -> list[Session]:
        return [scripted_session(unchanged)]

    runner, sink = run_paced(60, fail_after_warm_up(hang), reopen=reopen)
    goes_on.set()
    assert runner.worker is not None
    assert runner.worker.restarts == 1
    assert sum(states(runner).values()) == 60
    assert any("gave nothing for" in result.reason for result in sink.results)


def test_sink_that_fails_leaves_the_others_alone() -> None:
    def fail(_result: Result) -> None:
        raise OSError(28, "No space left on device")

    good, bad = KeptResults("good"), KeptResults("bad", fail)
    source = ScriptedSource(camera_script(20, period_s=0.002))
    runner = LiveRunner([source], [scripted_session(unchanged)], [[good, bad]], LEISURE)
    runner.run()
    assert (len(good.results), good.end, bad.end) == (20, "closed", "given up")
    assert "No space left" in runner.sinks["bad"].error
    assert runner.sinks["bad"].skipped == 20
    assert runner.imbalances == []


def test_blocked_sink_delays_neither_another_sink_nor_the_network() -> None:
    paced = Paced(30)
    goes_on = threading.Event()

    def block(_result: Result) -> None:
        assert goes_on.wait(PATIENCE_S)

    def release_at_the_end(result: Result) -> None:
        paced.on_write(result)
        if result.frame.seq == 29:
            goes_on.set()

    fast = KeptResults("fast", release_at_the_end)
    view = KeptResults("view", block, queue_frames=1, keeps_newest=True)
    runner = LiveRunner([ScriptedSource(paced.script())], [scripted_session(unchanged)], [[fast, view]], LEISURE)
    runner.run()
    assert len(fast.results) == 30
    counts = runner.sinks["view"]
    assert counts.skipped >= 27
    assert counts.handed == 30 == counts.emitted + counts.skipped
    assert view.results[-1].frame.seq == 29


def test_two_cameras_have_accounts_of_their_own_and_are_both_served() -> None:
    sinks = KeptResults("a"), KeptResults("b")
    sources = [ScriptedSource(camera_script(40, period_s=0.002), name="cam") for _ in range(2)]
    runner = LiveRunner(sources, [scripted_session(unchanged)], [[sinks[0]], [sinks[1]]], LEISURE)
    runner.run()
    assert [ledger.stream for ledger in runner.ledgers] == ["cam", "cam#2"]
    for ledger, sink in zip(runner.ledgers, sinks, strict=True):
        assert ledger.captured == 40 == len(sink.results)
        assert ledger.states[Terminal.DEBLURRED] > 0
        assert {result.frame.stream for result in sink.results} == {ledger.stream}


def test_stop_ends_a_camera_that_never_ends() -> None:
    stop = threading.Event()
    source = ScriptedSource(camera_script(10**9, period_s=0.001))
    sink = KeptResults(on_write=lambda result: stop.set() if result.frame.seq > 20 else None)
    runner = LiveRunner([source], [scripted_session(unchanged)], [[sink]], LEISURE)
    runner.run(stop=stop)
    ledger = runner.ledgers[0]
    assert source.is_closed
    assert sink.end == "closed"
    assert ledger.captured == sum(ledger.states.values())
    assert runner.imbalances == []


def test_events_of_the_source_are_counted_and_its_end_is_told() -> None:
    events = [SourceEvent("opened", "cam: there", 0), SourceEvent("gap", "cam: loss", 0, 3)]
    source = ScriptedSource([*events, *camera_script(2), SourceEvent("lost", "cam: gone", 0)])
    runner = LiveRunner([source], [scripted_session(unchanged)], [[KeptResults()]], LEISURE)
    runner.run()
    ledger = runner.ledgers[0]
    assert dict(ledger.events) == {"opened": 1, "gap": 1, "lost": 1, "failed": 1}
    assert ledger.lost_before == 3
    assert runner.cameras[0].error == "cam: the script is over"


def test_every_frame_has_its_line() -> None:
    lines: list[dict[str, Any]] = []
    run_paced(10, unchanged, write_line=lines.append)
    assert [line["seq"] for line in lines] == list(range(10))
    for line in lines:
        assert set(line) == {
            *("stream", "epoch", "seq", "state", "reason", "pts", "t_capture_ns", "stages_ms", "emit_ms")
        }
        assert line["state"] in Terminal.__members__
        assert set(line["emit_ms"]) == {"kept"}


def test_gate_lets_sharp_frames_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deblurrt.runtime.blur_gate.BlurGate.judge", lambda gate, pixels: True)
    runner, _ = run_paced(5, unchanged, LiveConfig(60_000, has_gate=True))
    assert states(runner) == {"PASS_SHARP": 5}


class WaitingSource(ScriptedSource):
    """A source whose frames begin with its first ``read``."""

    first_size = (48, 64)

    def __init__(self, script: Iterator[Frame | SourceEvent | float], on_read: Callable[[], None]) -> None:
        super().__init__(script)
        self._on_read = on_read

    def read(self, timeout_s: float) -> Frame | SourceEvent | None:
        self._on_read()
        return super().read(timeout_s)


def test_source_that_can_wait_is_read_when_the_network_is_ready() -> None:
    order: list[str] = []

    def compute(frames: Array) -> Array:
        order.append("network")
        return frames

    paced = Paced(5)
    source = WaitingSource(paced.script(), lambda: order.append("read"))
    sink = KeptResults(on_write=paced.on_write)
    runner = LiveRunner([source], [scripted_session(compute), scripted_session(compute)], [[sink]], LEISURE)
    runner.run()
    assert order[: order.index("read")] == ["network"] * 2 * (1 + TIMED_RUNS)
    assert states(runner) == {"DEBLURRED": 5}


def test_source_that_can_wait_is_read_though_the_network_never_gets_ready() -> None:
    sink = KeptResults()
    runner = LiveRunner([WaitingSource(camera_script(5), lambda: None)], [scripted_session(raising)], [[sink]], LEISURE)
    runner.run()
    assert states(runner).keys() <= {"PASS_FAULT", "PASS_SUPERSEDED"}
    assert sum(states(runner).values()) == 5


def test_camera_is_read_while_the_network_is_prepared() -> None:
    """Its network becomes ready only when the first frame has gone out."""
    is_out = threading.Event()

    def compute(frames: Array) -> Array:
        assert is_out.wait(PATIENCE_S)
        return frames

    sink = KeptResults(on_write=lambda _result: is_out.set())
    runner = LiveRunner([ScriptedSource(camera_script(1))], [scripted_session(compute)], [[sink]], LEISURE)
    runner.run()
    assert sink.states == ["PASS_WARMUP"]


def test_deadline_that_cannot_be_kept_is_told_before_the_first_frame(caplog: pytest.LogCaptureFixture) -> None:
    told: list[bool] = []
    source = WaitingSource(camera_script(1), lambda: told.append("the deadline is" in caplog.text))
    config = LiveConfig(deadline_ms=0.001)
    LiveRunner([source], [scripted_session(unchanged)], [[KeptResults()]], config).run()
    assert told[0]


def test_frozen_camera_is_said_to_be_so_until_it_moves() -> None:
    def health(*events: SourceEvent) -> tuple[str, str]:
        runner = LiveRunner([ScriptedSource([])], [scripted_session(unchanged)], [[KeptResults()]], LEISURE)
        (camera,) = runner.cameras
        camera.saw(Frame(textured(0), 0, 0), None)
        for event in events:
            camera.note(event)
        return camera.health, camera.reason

    frozen, moving = SourceEvent("frozen", "cam: 10 times the same picture", 0, 10), SourceEvent("moving", "cam: ", 0)
    assert health() == ("streaming", "")
    assert health(frozen) == ("frozen", "10 times the same picture")
    assert health(frozen, moving) == ("streaming", "")
