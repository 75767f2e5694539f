"""Two synchronised cameras through a whole live run, with threads: what goes through the network together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.tensors import Array, TensorSpec
from deblurrt.runtime import batching
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.live_runner import LiveConfig, LiveRunner
from deblurrt.runtime.session import Session
from deblurrt.runtime.terminal import Result, Terminal
from tests.fakes import FakeBackend, unchanged
from tests.live_fakes import PATIENCE_S, KeptResults, ScriptedSource, textured

FRAMES = 30
#: the network's time for one frame and for each further one: sleeping, so that other work does not count
ONE_S, FURTHER_S = 0.02, 0.001
#: frames pass while the network is prepared: the cameras wait a little then, so that some are left
WARM_UP_S = 0.1


@pytest.fixture(autouse=True)
def patient_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames wait for each other as long as threads may take on a busy machine."""
    monkeypatch.setattr(batching, "MOMENT_NS", 5_000_000_000)
    monkeypatch.setattr(batching, "COLLECT_NS", 5_000_000_000)


class Pair:
    """Two cameras that take their next pictures together, once both of the last have gone out."""

    def __init__(self) -> None:
        self._together = threading.Barrier(2)
        self._out = [threading.Semaphore(1), threading.Semaphore(1)]
        self._is_warming = [False, False]

    def script(self, camera: int) -> Iterator[Frame | float]:
        for seq in range(FRAMES):
            assert self._out[camera].acquire(timeout=PATIENCE_S)
            if self._is_warming[camera]:
                yield WARM_UP_S
            self._together.wait(PATIENCE_S)
            pixels = textured(100 * camera + seq)
            # a mark by which the network knows the camera
            pixels[0, 0] = camera
            yield Frame(pixels, seq, 0)

    def sink(self, camera: int) -> KeptResults:
        def on_write(result: Result) -> None:
            self._is_warming[camera] = result.state is Terminal.PASS_WARMUP
            self._out[camera].release()

        return KeptResults(f"kept {camera}", on_write)


def darker(frames: Array) -> Array:
    """A network whose pictures of camera 1 are black."""
    time.sleep(ONE_S + (len(frames) - 1) * FURTHER_S)
    restored = frames - (frames > 1)
    restored[frames[:, 0, 0, 0] == 1] = 0
    return restored


def run_pair(backend: FakeBackend, *, has_batches: bool = True) -> tuple[LiveRunner, list[list[Result]]]:
    pair = Pair()
    sources = [ScriptedSource(pair.script(camera), f"camera {camera}") for camera in range(2)]
    sinks = [pair.sink(camera) for camera in range(2)]
    config = LiveConfig(deadline_ms=60_000, has_batches=has_batches)
    session = Session(backend, FrameContract(), "scripted")
    runner = LiveRunner(sources, [session], [[sink] for sink in sinks], config)
    runner.run()
    assert runner.imbalances == []
    return runner, [sink.results for sink in sinks]


def test_frames_go_through_together_and_a_bad_picture_fails_its_own_camera() -> None:
    backend = FakeBackend(darker)
    runner, (good, bad) = run_pair(backend)
    assert runner.flow.batches[2] > FRAMES // 3
    assert sum(len(frames) == 2 for frames in backend.seen) > FRAMES // 3
    assert {result.state for result in good} == {Terminal.PASS_WARMUP, Terminal.DEBLURRED}
    assert {result.state for result in bad} == {Terminal.PASS_WARMUP, Terminal.PASS_FAULT}
    for result in good:
        expected = result.frame.pixels - (result.frame.pixels > 1) * (result.state is Terminal.DEBLURRED)
        np.testing.assert_array_equal(result.restored, expected)
    for result in bad:
        np.testing.assert_array_equal(result.restored, result.frame.pixels)


def test_batches_can_be_switched_off() -> None:
    backend = FakeBackend(unchanged)
    runner, _ = run_pair(backend, has_batches=False)
    assert set(runner.flow.batches) == {1}
    assert all(len(frames) == 1 for frames in backend.seen)


def test_network_of_one_frame_gets_one_frame() -> None:
    one = TensorSpec("frames", "uint8", (1, "height", "width", 3))
    backend = FakeBackend(unchanged, one)
    runner, (good, _) = run_pair(backend)
    assert set(runner.flow.batches) == {1}
    assert {result.state for result in good} <= {Terminal.PASS_WARMUP, Terminal.DEBLURRED}
