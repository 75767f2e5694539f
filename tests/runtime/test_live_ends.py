"""Live runs that go wrong on our side: everything is ended and closed, and the account stays readable."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deblurrt.core.errors import ModelFileError, UsageError
from deblurrt.runtime import ledger_file, live_worker, streaming
from deblurrt.runtime.blur_gate import BlurGate
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.ledger_file import LedgerFile
from deblurrt.runtime.live_runner import IMBALANCES_MAX, LiveConfig, LiveRunner
from deblurrt.runtime.session import Session
from deblurrt.runtime.streaming import StreamConfig, stream
from deblurrt.runtime.terminal import Result, Terminal
from tests.fakes import FakeBackend, unchanged
from tests.live_fakes import PATIENCE_S, KeptResults, ScriptedSource, camera_script, scripted_session, textured

LEISURE = LiveConfig(deadline_ms=60_000)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
    assert set(threading.enumerate()) <= before


def is_closed(session: Session) -> bool:
    assert isinstance(session.backend, FakeBackend)
    return session.backend.is_closed


def endless() -> ScriptedSource:
    return ScriptedSource(camera_script(10_000, period_s=0.01))


def fail(_result: Result) -> None:
    raise OSError("full")


def test_defect_while_a_run_is_watched_ends_and_closes_everything() -> None:
    source, session, sink = endless(), scripted_session(unchanged), KeptResults()
    runner = LiveRunner([source], [session], [[sink]], LEISURE)

    def fail() -> None:
        raise ZeroDivisionError("a defect of whoever watches")

    with pytest.raises(ZeroDivisionError, match="whoever watches"):
        runner.run(fail)
    assert (source.is_closed, sink.end, is_closed(session)) == (True, "closed", True)
    assert runner.imbalances == []
    ledger = runner.ledgers[0]
    assert ledger.captured == sum(ledger.states.values()) > 0


def test_defect_of_the_flow_reaches_the_caller_and_closes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    source, session, sink = endless(), scripted_session(unchanged), KeptResults()
    runner = LiveRunner([source], [session], [[sink]], LEISURE)

    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError("a defect of ours")

    monkeypatch.setattr(runner.flow, "tick", fail)
    monkeypatch.setattr(runner.flow, "stop", fail)
    with pytest.raises(ZeroDivisionError, match="a defect of ours"):
        runner.run()
    assert (source.is_closed, sink.end, is_closed(session)) == (True, "closed", True)


def test_account_that_does_not_balance_is_told_a_few_times_only() -> None:
    """What does not balance once never does again, with other figures at every look."""
    runner = LiveRunner([endless()], [scripted_session(unchanged)], [[KeptResults()]], LEISURE)
    for _ in range(3 * IMBALANCES_MAX):
        runner.ledgers[0].captured += 1
        runner._check()
    assert len(set(runner.imbalances)) == len(runner.imbalances) == IMBALANCES_MAX


def test_camera_is_not_run_for_outputs_that_have_all_failed() -> None:
    source, sinks = endless(), [KeptResults("one", fail), KeptResults("two", fail)]
    runner = LiveRunner([source], [scripted_session(unchanged)], [sinks], LEISURE)
    runner.run()
    assert {name: counts.error for name, counts in runner.sinks.items()} == {"one": "full", "two": "full"}
    assert source.is_closed
    assert runner.imbalances == []


def test_source_with_a_defect_is_said_to_have_failed() -> None:
    def script() -> Iterator[Frame]:
        yield Frame(textured(0), 0, 0)
        raise ZeroDivisionError("a defect of the source")

    runner = LiveRunner([ScriptedSource(script())], [scripted_session(unchanged)], [[KeptResults()]], LEISURE)
    runner.run()
    (camera,) = runner.cameras
    assert (camera.health, camera.error) == ("failed", "a defect of the source")


def test_networks_opened_already_are_closed_where_a_smaller_one_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = [scripted_session(unchanged)]

    def open_first(model: str, *_config: object) -> Session:
        if model != "first":
            raise ModelFileError("no such model")
        return opened[0]

    monkeypatch.setattr(streaming, "open_session", open_first)
    with pytest.raises(ModelFileError):
        next(stream(endless(), "first", StreamConfig(live=LEISURE, ladder=("missing",))))
    assert is_closed(opened[0])


def test_networks_that_do_not_go_together_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = [scripted_session(unchanged), scripted_session(unchanged)]
    opened[1].contract = type(opened[1].contract)(scale=4)
    waiting = iter(opened)
    monkeypatch.setattr(streaming, "open_session", lambda *_arguments: next(waiting))
    with pytest.raises(UsageError, match="ladder"):
        next(stream(endless(), "first", StreamConfig(live=LEISURE, ladder=("second",))))
    assert list(map(is_closed, opened)) == [True, True]


@pytest.fixture
def nothing_else_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_worker, "LOOK_S", PATIENCE_S)


@pytest.mark.usefixtures("nothing_else_wakes")
def test_frame_that_needs_no_network_goes_out_in_time_at_a_constant_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else happens meanwhile that would let it out."""
    monkeypatch.setattr(BlurGate, "judge", lambda _gate, _pixels: True)
    out = threading.Event()
    sink = KeptResults(on_write=lambda _result: out.set())

    def script() -> Iterator[Frame | float]:
        yield Frame(textured(0), 0, 0)
        assert out.wait(PATIENCE_S)

    config = LiveConfig(deadline_ms=200, has_gate=True, pace="constant")
    LiveRunner([ScriptedSource(script())], [scripted_session(unchanged)], [[sink]], config).run()
    (result,) = sink.results
    assert result.state is Terminal.PASS_SHARP
    assert 190 < result.total_ms < 10 * 200


class StuckFile:
    """A file on a disk that takes nothing for now."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()

    def write(self, _text: str) -> None:
        assert self.goes_on.wait(PATIENCE_S)

    def __enter__(self) -> StuckFile:
        return self

    def __exit__(self, *_error: object) -> None:
        pass


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[StuckFile]:
    file = StuckFile()
    monkeypatch.setattr(Path, "open", lambda *_arguments, **_options: file)
    yield file
    file.goes_on.set()


def test_ledger_on_a_disk_that_stands_still_takes_no_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stuck: StuckFile
) -> None:
    monkeypatch.setattr(ledger_file, "WAITING_MAX", 10)
    lines = LedgerFile(tmp_path / "frames.jsonl")
    for seq in range(100):
        lines.write({"seq": seq})
    assert "10 lines wait" in str(lines.error)
    stuck.goes_on.set()
    lines.close()


def test_lines_that_never_reach_the_disk_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stuck: StuckFile
) -> None:
    monkeypatch.setattr(ledger_file, "CLOSE_S", 0.05)
    lines = LedgerFile(tmp_path / "frames.jsonl")
    lines.write({"seq": 0})
    lines.close()
    assert "did not reach the disk" in str(lines.error)


@pytest.mark.parametrize("options", [{"late": "never"}, {"pace": "slow"}])
def test_policy_that_there_is_not_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected one of"):
        LiveConfig(**options)
