"""Live runs with networks that hang and crash: they are ended, nothing stays behind, and it goes on."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deblurrt.core.errors import UsageError
from deblurrt.core.optional import require
from deblurrt.runtime import live_flow, live_worker
from deblurrt.runtime.any_network import Network, OpenNetworks
from deblurrt.runtime.backend import BackendConfig
from deblurrt.runtime.frame import Frame, Pixels
from deblurrt.runtime.isolated_network import open_isolated
from deblurrt.runtime.live_runner import LiveConfig, LiveRunner
from deblurrt.runtime.session import SessionConfig, open_session
from deblurrt.runtime.source_health import HealthLimits
from deblurrt.runtime.streaming import StreamConfig, stream
from deblurrt.runtime.terminal import Terminal
from tests.child_networks import HANG, HANG_WITH_LOCK, KILL, RAISE, SEGFAULT, SHRINK, open_told, told
from tests.fakes import ListSource, fake_session, plain_frames
from tests.live_fakes import PATIENCE_S, KeptResults, ScriptedSource, textured
from tests.tiny_graphs import write_endless

SIZE = (48, 64)
CONFIG = LiveConfig(deadline_ms=60_000)

require("onnxruntime", purpose="have open what it keeps open")


def children() -> set[int]:
    """Numbers of this process's children."""
    return {int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def has_ended(pid: int) -> bool:
    """Whether a process is gone; one that waits to be asked for its code is."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def wait_until(is_so: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Threads, children, handles and shared memory are those of before."""

    def held() -> tuple[set[int], int, int, set[Path]]:
        gc.collect()
        handles = len(list(Path("/proc/self/fd").iterdir()))
        mapped = Path("/proc/self/maps").read_text().count("deblurrt-frames")
        return children(), handles, mapped, set(Path("/dev/shm").iterdir())

    threads, before = set(threading.enumerate()), held()
    yield
    for thread in set(threading.enumerate()) - threads:
        thread.join(PATIENCE_S)
    assert set(threading.enumerate()) <= threads
    assert held() == before


class Camera:
    """Gives pictures until the network restores them, then one that tells it what to do, and so on."""

    def __init__(self, orders: list[int], order_of: Callable[[int, int], Pixels] = told) -> None:
        self.sink = KeptResults()
        self.pids: list[int] = []
        self._orders, self._order_of = orders, order_of

    def open(self) -> list[Network]:
        networks = open_isolated(open_told)
        self.pids.append(networks[0].pid)
        return [*networks]

    def script(self) -> Iterator[Frame | float]:
        seq = 0
        for order in [*self._orders, 0]:
            seen = len(self.sink.results)
            until_s = time.monotonic() + PATIENCE_S
            while not any(result.state is Terminal.DEBLURRED for result in self.sink.results[seen:]):
                assert time.monotonic() < until_s, self.sink.results[-1].reason
                yield Frame(textured(seq, SIZE), seq, 0)
                yield 0.01
                seq += 1
            if order:
                yield from self._tell(order, seq)
                seq += 1

    def _tell(self, order: int, seq: int) -> Iterator[Frame | float]:
        """Give the order when everything before is out, and wait for what becomes of it."""
        until_s = time.monotonic() + PATIENCE_S
        while len(self.sink.results) < seq:
            assert time.monotonic() < until_s
            yield 0.005
        yield Frame(self._order_of(order, seq), seq, 0)
        while len(self.sink.results) <= seq:
            assert time.monotonic() < until_s
            yield 0.005


@pytest.fixture
def hangs_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_flow, "HANG_NS", 500_000_000)
    monkeypatch.setattr(live_worker, "STUCK_MAX", 1)
    monkeypatch.setattr(live_worker, "CANCEL_S", PATIENCE_S)
    monkeypatch.setattr(live_worker, "RESTARTS", HealthLimits(first_retry_s=0.01, longest_retry_s=0.02))


def run_told(orders: list[int]) -> tuple[LiveRunner, Camera]:
    camera = Camera(orders)
    return run(camera, camera.open), camera


def run(camera: Camera, open_networks: OpenNetworks) -> LiveRunner:
    runner = LiveRunner([ScriptedSource(camera.script())], open_networks(), [[camera.sink]], CONFIG, open_networks)
    runner.run()
    assert runner.imbalances == []
    ledger = runner.ledgers[0]
    assert ledger.captured == sum(ledger.states.values()) == len(camera.sink.results)
    return runner


def reasons(camera: Camera) -> list[str]:
    """Why frames that told the network something went out untouched."""
    return [result.reason for result in camera.sink.results if 0 < result.frame.pixels[0, 0, 0] < 10]


@pytest.mark.usefixtures("hangs_soon")
@pytest.mark.fault("E1", "network of its own process: hangs for ever, also with Python's lock", "killed, opened anew")
def test_network_that_hangs_is_killed_and_deblurring_goes_on(fault_result: Callable[[str], None]) -> None:
    runner, camera = run_told([HANG, HANG_WITH_LOCK])
    assert [reason.partition(" for ")[0] for reason in reasons(camera)] == ["told gave nothing"] * 2
    assert runner.worker is not None
    assert len(set(camera.pids)) == 1 + runner.worker.restarts >= 3
    assert all(map(has_ended, camera.pids))
    fault_result(f"{len(reasons(camera))} hangs, each killed and replaced; processes, memory and handles as before")


@pytest.mark.usefixtures("hangs_soon")
@pytest.mark.fault("E1", "ONNX Runtime in this process hangs for ever", "cancelled, thread freed, opened anew")
def test_network_that_can_be_cancelled_frees_its_thread(tmp_path: Path) -> None:
    graph = write_endless(tmp_path / "endless.onnx")
    camera = Camera([1, 2], lambda _order, _seq: np.full((*SIZE, 3), 255, np.uint8))
    config = SessionConfig(backend="onnxruntime", options=BackendConfig(threads=1))
    runner = run(camera, lambda: [open_session(graph, config)])
    white = [result for result in camera.sink.results if result.frame.pixels.min() == 255]
    assert ["gave nothing for" in result.reason for result in white] == [True] * 2
    assert runner.worker is not None
    assert runner.worker.restarts >= 2


@pytest.mark.usefixtures("hangs_soon")
@pytest.mark.fault("E1", "network of its own process: SIGKILL, SIGSEGV", "named, opened anew")
def test_network_that_crashes_is_opened_anew(caplog: pytest.LogCaptureFixture) -> None:
    runner, camera = run_told([KILL, SEGFAULT])
    assert reasons(camera) == [f"the network's process was ended by {name}" for name in ("SIGKILL", "SIGSEGV")]
    assert runner.worker is not None
    assert runner.worker.restarts == 2
    assert len(set(camera.pids)) == 3
    assert "SIGSEGV; it is given up and opened anew" in caplog.text


@pytest.mark.fault(
    "E1", "network of its own process: raises, gives a wrong shape", "untouched frame, nothing restarted"
)
def test_network_that_fails_is_not_opened_anew() -> None:
    runner, camera = run_told([RAISE, SHRINK])
    first, second = reasons(camera)
    assert first == "a defect of the network"
    assert "expected at least" in second
    assert runner.worker is not None
    assert (runner.worker.restarts, len(camera.pids)) == (0, 1)


@pytest.mark.fault("E1", "parent killed (SIGKILL) while its network hangs with Python's lock", "network's process ends")
def test_process_ends_with_a_parent_that_is_killed() -> None:
    code = (
        "from deblurrt.runtime.isolated_network import open_isolated\n"
        "from tests.child_networks import open_told, HANG_WITH_LOCK\n"
        "import numpy as np\n"
        "network, = open_isolated(open_told)\n"
        "print(network.pid, flush=True)\n"
        "network.restore(np.full((8, 8, 3), HANG_WITH_LOCK, np.uint8))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        try:
            assert not has_ended(pid)
            parent.kill()
            wait_until(lambda: has_ended(pid))
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_run_that_is_stopped_ends_a_network_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deblurrt.runtime.live_runner.JOIN_S", 0.2)
    stop = threading.Event()

    def order_of(order: int, seq: int) -> Pixels:
        threading.Timer(0.1, stop.set).start()
        return told(order, seq)

    camera = Camera([HANG], order_of)
    runner = LiveRunner([ScriptedSource(camera.script())], camera.open(), [[camera.sink]], CONFIG, camera.open)
    runner.run(stop=stop)
    ledger = runner.ledgers[0]
    assert ledger.states[Terminal.DROPPED_SHUTDOWN] == 1
    assert ledger.captured == sum(ledger.states.values())
    assert runner.imbalances == []
    assert list(map(has_ended, camera.pids)) == [True]


def test_stream_isolates_what_it_opens_itself() -> None:
    config = StreamConfig(live=CONFIG, isolate=True)
    source = ScriptedSource(Frame(textured(seq, SIZE), seq, 0) if seq % 2 else 0.01 for seq in range(100))
    before = children()
    restored = 0
    for result in stream(source, "identity", config):
        restored += result.state is Terminal.DEBLURRED
        assert len(children() - before) == 1
    assert restored > 0


@pytest.mark.parametrize("isolated_source", [ScriptedSource([]), ListSource(plain_frames(2))], ids=["live", "file"])
def test_open_sessions_and_files_cannot_be_isolated(isolated_source: Any) -> None:
    with pytest.raises(UsageError, match="isolate"):
        list(stream(isolated_source, fake_session(), StreamConfig(isolate=True)))
