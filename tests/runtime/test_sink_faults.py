"""What an output can do wrong in a whole run; the network and the other outputs go on."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest

from deblurrt.cli.live_view import ViewAdapter
from deblurrt.core.contract import FrameContract
from deblurrt.profiling.scripted_runs import MovingPicture, SleepingBackend
from deblurrt.profiling.view_watchers import Watchers
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.live_job import LiveJobConfig, run_live
from deblurrt.runtime.live_runner import LiveConfig
from deblurrt.runtime.outbox import ResultSink
from deblurrt.runtime.paced_source import PacedSource
from deblurrt.runtime.recorder import ENCODERS_MAX, FREE_MIN_BYTES, Recorder
from deblurrt.runtime.session import Session
from deblurrt.runtime.terminal import Result, Terminal
from deblurrt.runtime.video_encoder import VideoEncoder
from deblurrt.runtime.view_sink import ViewConfig
from tests.live_fakes import PATIENCE_S, KeptResults, ScriptedSource, camera_script, scripted_session
from tests.servers.run_process import RunProcess, lines_of, times_in

full = pytest.mark.full

#: no frame is late in these tests, however slow the machine
LEISURE = LiveJobConfig(LiveConfig(60_000.0))

CAMERA = "synthetic://?size=240x320&fps=50&blur=0"
FRAME_BYTES = 240 * 320 * 3
#: about four seconds of it
SPACE_BYTES = 300_000
#: a key frame every two seconds
GOP_FRAMES = 100

LIMITED = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
"""
WITHOUT_FLOOR = "from deblurrt.runtime import recorder; recorder.FREE_MIN_BYTES = 0"


class PipeReader:
    """Takes everything a pipe gives, so that its writer never waits."""

    def __init__(self, pipe: Any) -> None:
        self.taken = 0
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while data := self._pipe.read1(1 << 20):
            self.taken += len(data)

    def join(self) -> int:
        self._thread.join(PATIENCE_S)
        return self.taken


def run_until_recording_fails(
    folder: Path, tmp_path: Path, before: str, suffix: str = ".mkv"
) -> tuple[Path, dict[str, Any], int]:
    """Record until the disk refuses and some frames longer; the ``.part``, the summary, frames in the pipe."""
    recording, ledger, summary = folder / f"out{suffix}", tmp_path / "frames.jsonl", tmp_path / "summary.json"
    places = (CAMERA, recording, "raw:-", "--ledger", ledger, "--json", summary, "--deadline-ms", 2000)
    with RunProcess(places, before) as run:
        assert run.process.stdout is not None
        reader = PipeReader(run.process.stdout)
        until_s = time.monotonic() + PATIENCE_S
        while not any(line["emit_ms"].get(str(recording), 0) is None for line in lines_of(ledger)):
            assert run.process.poll() is None, run.said()
            assert time.monotonic() < until_s, "the disk never was full"
            time.sleep(0.2)
        run.wait_for_lines(ledger, len(lines_of(ledger)) + 25)
        code = run.stop()
        assert code == 8, run.said()
        taken = reader.join()
        assert taken % FRAME_BYTES == 0
        said = run.said()
    assert "Traceback" not in said
    assert "the others go on" in said
    part = folder / f"out{suffix}.part"
    assert not recording.exists()
    return part, json.loads(summary.read_text()), taken // FRAME_BYTES


def check_full_disk(part: Path, summary: dict[str, Any], piped: int, told: str) -> str:
    """The failed recording plays, the pipe got the rest; says how much of each there is."""
    pipe, recording = summary["sinks"]["-"], summary["sinks"][str(part.with_suffix(""))]
    assert told in recording["error"]
    assert told in summary["incomplete"]
    assert summary["imbalances"] == []
    assert (pipe["error"], pipe["emitted"]) == (None, piped)
    assert piped > recording["emitted"]
    times = times_in(part)
    assert len(times) >= max(1, recording["emitted"] - GOP_FRAMES)
    assert times == sorted(times)
    return f"{len(times)} of {recording['emitted']} recorded frames play; the pipe got {piped} of {summary['captured']}"


@full
@pytest.mark.fault(
    "K1", "file cannot grow (RLIMIT_FSIZE)", "recording fails, plays to its last cluster; pipe goes on; exit 8"
)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_file_that_cannot_grow_ends_the_recording_only(
    suffix: str, tmp_path: Path, fault_result: Callable[[str], None]
) -> None:
    part, summary, piped = run_until_recording_fails(tmp_path, tmp_path, LIMITED.format(size=SPACE_BYTES), suffix)
    fault_result(check_full_disk(part, summary, piped, "disk full"))


@contextmanager
def small_disk(folder: Path, size_mib: int, left_bytes: int) -> Iterator[Path]:
    """A file system of its own in memory, nearly full; skips where mounting is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "deblurrt-test", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S)
        reason = done.stderr.decode().strip()
    except FileNotFoundError:
        done, reason = None, "there is no mount"
    if done is None or done.returncode:
        pytest.skip(f"no file system can be mounted: {reason}")
    try:
        (folder / "filler").write_bytes(bytes(os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize - left_bytes))
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=PATIENCE_S)


@full
@pytest.mark.fault(
    "K1", "disk full (tmpfs of 3 MB)", "recording fails, plays to its last cluster; pipe goes on; exit 8"
)
def test_full_disk_ends_the_recording_only(tmp_path: Path, fault_result: Callable[[str], None]) -> None:
    with small_disk(tmp_path / "disk", 3, SPACE_BYTES) as disk:
        part, summary, piped = run_until_recording_fails(disk, tmp_path, WITHOUT_FLOOR)
        fault_result(check_full_disk(part, summary, piped, "disk full"))


@full
@pytest.mark.fault("K1", "64 MiB left (tmpfs of 66 MB)", "recording stops before the disk is full, every frame plays")
def test_recording_leaves_the_machine_some_space(tmp_path: Path, fault_result: Callable[[str], None]) -> None:
    with small_disk(tmp_path / "disk", 66, FREE_MIN_BYTES + SPACE_BYTES) as disk:
        part, summary, piped = run_until_recording_fails(disk, tmp_path, "")
        fault_result(check_full_disk(part, summary, piped, "recording stops at 64 MiB"))
        assert len(times_in(part)) == summary["sinks"][str(part.with_suffix(""))]["emitted"]
        assert os.statvfs(disk).f_bavail > 0


def account_of(summary: dict[str, Any], place: object) -> tuple[int, int, str | None]:
    """What an output took, what it skipped, and why it failed."""
    sink = summary["sinks"][str(place)]
    return sink["emitted"], sink["skipped"], sink["error"]


def failing_encoder(monkeypatch: pytest.MonkeyPatch, fails: Callable[[int], bool]) -> None:
    """Let the encoder raise, as one in hardware does that is taken away, at some of its frames."""
    encode, seen = VideoEncoder._encoded, itertools.count()

    def encoded(self: VideoEncoder, picture: Any) -> Any:
        if picture is not None and fails(next(seen)):
            self._stream = Broken(self._stream)
        return encode(self, picture)

    monkeypatch.setattr(VideoEncoder, "_encoded", encoded)


class Broken:
    """A stream whose encoder is gone."""

    def __init__(self, stream: Any) -> None:
        self.codec_context = stream.codec_context

    def encode(self, picture: Any) -> Any:
        raise av.error.ExternalError(-542398533, "Generic error in an external library")


@pytest.mark.fault(
    "K2", "encoder fails in mid-run (it has no process of its own to kill)", "x264 goes on in `out-2`, no frame lost"
)
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_recording_goes_on_with_another_encoder(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault_result: Callable[[str], None]
) -> None:
    failing_encoder(monkeypatch, lambda seen: seen == 20)
    kept = KeptResults()
    source = ScriptedSource(camera_script(50, period_s=0.01))
    places: list[str | ResultSink] = [str(tmp_path / f"out{suffix}"), kept]
    summary = run_live([source], lambda: [scripted_session(lambda frames: frames)], places, LEISURE)
    first, second = times_in(tmp_path / f"out{suffix}"), times_in(tmp_path / f"out-2{suffix}")
    assert (len(first), len(second), len(kept.results)) == (20, 30, 50)
    assert account_of(summary, tmp_path / f"out{suffix}") == (50, 0, None)
    assert summary["imbalances"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"out-2{suffix}", f"out{suffix}"]
    fault_result("20 frames in the first file, 30 in the second, of 50")


@pytest.mark.fault("K2", "every encoder fails", "recording fails after four; the other outputs go on")
def test_recording_ends_where_every_encoder_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_encoder(monkeypatch, lambda seen: seen >= 5)
    kept = KeptResults()
    source = ScriptedSource(camera_script(30, period_s=0.01))
    summary = run_live(
        [source], lambda: [scripted_session(lambda frames: frames)], [str(tmp_path / "out.mkv"), kept], LEISURE
    )
    emitted, skipped, error = account_of(summary, tmp_path / "out.mkv")
    assert "the encoder libx264 failed" in (error or "")
    assert (emitted, skipped, len(kept.results)) == (5, 25, 30)
    assert len(times_in(tmp_path / "out.mkv")) == 5
    segments = list(tmp_path.glob("out-*.mkv*"))
    assert len(segments) < ENCODERS_MAX
    assert summary["imbalances"] == []


class SlowSink(KeptResults):
    """Takes a fifth of a second for a frame."""

    def __init__(self) -> None:
        super().__init__("slow", lambda _result: time.sleep(0.2), queue_frames=2, keeps_newest=True)


class BlockedSink(KeptResults):
    """Takes its first frame when the run is over."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        super().__init__("blocked", self._block, queue_frames=2, keeps_newest=True)

    def _block(self, _result: Result) -> None:
        self.goes_on.wait(PATIENCE_S)


class Recording(KeptResults):
    """The fast output beside the others; lets the blocked ones go at the last frame."""

    def __init__(self, count: int, blocked: Sequence[BlockedSink]) -> None:
        super().__init__("fast", self._look)
        self._count, self._blocked = count, blocked

    def _look(self, result: Result) -> None:
        if result.frame.seq == self._count - 1:
            for sink in self._blocked:
                sink.goes_on.set()


def run_beside(tmp_path: Path, name: str, beside: Sequence[ResultSink], count: int = 90) -> dict[str, Any]:
    """Run three seconds of a file played like a camera, with a recording, a folder and other sinks beside."""
    session = Session(SleepingBackend(itertools.repeat(5.0)), FrameContract(), "scripted")
    fast = Recording(count, [sink for sink in beside if isinstance(sink, BlockedSink)])
    places: list[str | ResultSink] = [str(tmp_path / f"{name}.mkv"), str(tmp_path / name), fast, *beside]
    source = PacedSource(MovingPicture((144, 256), 30, count))
    summary = run_live([source], lambda: [session], places, LEISURE)
    assert summary["imbalances"] == []
    assert summary["incomplete"] is None
    assert summary["captured"] == count == sum(summary["states"].values())
    for place in (*places[:2], "fast"):
        assert account_of(summary, place) == (count, 0, None)
    assert [result.frame.seq for result in fast.results] == list(range(count))
    assert len(times_in(tmp_path / f"{name}.mkv")) == count
    # the network is free 28 of 33 ms: only a wake-up that is very late costs a frame
    assert summary["states"]["deblurred"] >= 0.5 * count
    return summary


def compared(alone: dict[str, Any], beside: dict[str, Any]) -> str:
    parts = []
    for summary in (alone, beside):
        network, total = summary["stages_ms"]["network"], summary["latency_ms"]
        deblurred = f"{summary['states']['deblurred']} deblurred"
        parts.append(f"{deblurred}, network p50 {network['p50']:.1f} ms, all p50 {total['p50']:.1f} ms")
    return f"alone {parts[0]}; beside {parts[1]}"


@full
@pytest.mark.fault("K3", "slow and blocked output beside fast ones", "fast ones get every frame, in order")
def test_slow_and_blocked_outputs_delay_nobody(tmp_path: Path, fault_result: Callable[[str], None]) -> None:
    alone = run_beside(tmp_path, "alone", [])
    slow, blocked = SlowSink(), BlockedSink()
    beside = run_beside(tmp_path, "beside", [slow, blocked])
    assert beside["sinks"]["slow"]["skipped"] > 45
    assert beside["sinks"]["blocked"]["skipped"] >= 85
    assert slow.results[-1].frame.seq == blocked.results[-1].frame.seq == 89
    fault_result(compared(alone, beside))


@full
@pytest.mark.fault("K3", "50 viewers, and 3 dead ones", "every frame in the other outputs; viewers see pictures")
def test_viewers_alive_and_dead_delay_nobody(tmp_path: Path, fault_result: Callable[[str], None]) -> None:
    alone = run_beside(tmp_path, "alone", [])
    view = ViewAdapter(ViewConfig(port=0))
    with Watchers(view.url, reading=50, dead=3) as watchers:
        beside = run_beside(tmp_path, "beside", [view])
    assert beside["sinks"]["view"]["emitted"] + beside["sinks"]["view"]["skipped"] == 90
    assert watchers.pictures > 50
    fault_result(f"{compared(alone, beside)}; {watchers.pictures} pictures seen by 50 in 3 s")


def test_frame_is_written_once_though_its_encoder_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frame in hand goes into the next file, with its own time."""
    failing_encoder(monkeypatch, lambda seen: seen in (0, 3))
    recorder = Recorder(tmp_path / "out.mkv")
    for frame in (Frame(camera.pixels, camera.seq, camera.seq * 100_000_000) for camera in _frames(6)):
        recorder.write(Result(frame, frame.pixels, Terminal.DEBLURRED))
    recorder.close()
    # the first file never had a picture, so that there is none
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-2.mkv", "out-3.mkv"]
    assert [len(times_in(tmp_path / name)) for name in ("out-2.mkv", "out-3.mkv")] == [2, 4]


def _frames(count: int) -> list[Frame]:
    return [step for step in camera_script(count) if isinstance(step, Frame)]
