"""Live sources against real servers that fail; every test is a row of docs/reliability.md."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deblurrt.runtime.capture_source import CaptureSource
from deblurrt.runtime.gst_bindings import has_gstreamer
from deblurrt.runtime.source_health import HealthLimits
from deblurrt.runtime.source_uris import LiveOptions, open_live_source
from tests.servers.listening import Listener
from tests.servers.quiet import busy_reason
from tests.servers.rtsp_age import LIMITS as AGE_LIMITS
from tests.servers.rtsp_age import Reader, measure
from tests.servers.server_process import ServerProcess

FPS = 30
PERIOD_MS = 1000 / FPS

#: quick, but far above what a busy machine takes between two frames
LIMITS = HealthLimits(open_s=30.0, stall_s=0.8, first_retry_s=0.1, longest_retry_s=0.4)

#: how late a busy machine may notice, seconds
LATE_S = 0.5

full = pytest.mark.full
needs_gstreamer = pytest.mark.skipif(not has_gstreamer(), reason="GStreamer's libraries are not installed")
READERS = ["pyav", pytest.param("gstreamer", marks=needs_gstreamer)]
#: where both readers meet the same code of ours, the second one is tried in the full set
ONE_READER = ["pyav", pytest.param("gstreamer", marks=[needs_gstreamer, full])]
OpenCamera = Callable[..., Listener]


def open_camera(
    server: ServerProcess, reader: str = "pyav", path: str = "live", user: str = "", **options: object
) -> Listener:
    scheme = "http" if path.endswith("jpg") else "rtsp"
    uri = f"{scheme}://{user}127.0.0.1:{server.port}/{path}"
    return Listener(open_live_source(uri, LiveOptions(reader=reader, **{"limits": LIMITS, **options})))  # type: ignore[arg-type]


def children() -> set[int]:
    """Processes this one has started and that are still there."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.add(int(path.parent.name))
    return found


@pytest.mark.fault("S1", "RTSP server killed, started again", "`lost` at once; new epoch, frames in order")
@pytest.mark.parametrize("reader", READERS)
def test_killed_server_is_lost_at_once_and_found_again(reader: str, fault_result: Callable[[str], None]) -> None:
    with ServerProcess("rtsp") as first, open_camera(first, reader) as heard:
        heard.until_frames(5)
        killed_s = time.monotonic()
        first.kill()
        heard.until_event("lost")
        lost_s = heard.time_of("lost") - killed_s
        assert lost_s < LATE_S
        with ServerProcess("rtsp", port=first.port):
            back_s = time.monotonic()
            heard.until_event("opened")
            heard.until_frames(3)
    assert [event.epoch for event in heard.of_kind("opened")] == [0, 1]
    assert next(frame.seq for frame in heard.frames if frame.epoch == 1) == 0
    fault_result(f"lost after {lost_s * 1000:.0f} ms, back {heard.time_of('opened') - back_s:.1f} s after the server")


@pytest.mark.fault("S2", "RTSP server frozen (SIGSTOP), thawed", "`lost` at the stall limit ±20 %, process replaced")
@pytest.mark.parametrize("reader", ONE_READER)
def test_frozen_server_is_lost_at_the_limit(reader: str, fault_result: Callable[[str], None]) -> None:
    before = children()
    with ServerProcess("rtsp") as server:
        with open_camera(server, reader) as heard:
            heard.until_frames(15)
            reading = children() - before
            server.freeze()
            last_s = heard.frames[-1].t_capture_ns / 1e9
            heard.until_event("lost")
            waited_s = heard.time_of("lost") - last_s
            assert LIMITS.stall_s * 0.8 <= waited_s <= LIMITS.stall_s * 1.2 + LATE_S
            server.thaw()
            heard.until_event("opened")
            heard.until_frames(3)
            assert reading - children()
        assert children() - before == {server.pid}
    fault_result(f"lost after {waited_s:.2f} s (limit {LIMITS.stall_s} s)")


@pytest.mark.fault("S3", "RTSP server silent, connection alive", "`lost` at the stall limit, then reconnected")
@pytest.mark.parametrize("reader", ONE_READER)
def test_silent_server_is_lost_at_the_limit(reader: str, fault_result: Callable[[str], None]) -> None:
    with ServerProcess("rtsp") as server, open_camera(server, reader) as heard:
        heard.until_frames(15)
        server.tell("silence")
        heard.until_event("lost")
        waited_s = heard.time_of("lost") - heard.frames[-1].t_capture_ns / 1e9
        server.tell("resume")
        heard.until_event("opened")
        heard.until_frames(3)
    assert LIMITS.stall_s * 0.8 <= waited_s <= LIMITS.stall_s * 1.2 + LATE_S
    fault_result(f"lost after {waited_s:.2f} s")


@pytest.mark.fault("S4", "server accepts, never answers; or answers PLAY and sends nothing", "`lost` at the deadline")
@pytest.mark.parametrize("fault", ["--mute", pytest.param("--no-media", marks=full)])
def test_deadline_of_opening_is_kept(fault: str, fault_result: Callable[[str], None]) -> None:
    limits = HealthLimits(open_s=2.0, first_retry_s=60.0)
    with ServerProcess("rtsp", fault) as server, open_camera(server, limits=limits) as heard:
        began_s = time.monotonic()
        lost = heard.until_event("lost")
        waited_s = heard.time_of("lost") - began_s
    assert "no frame within 2.0 s" in lost.reason
    assert limits.open_s * 0.8 <= waited_s <= limits.open_s * 1.2 + LATE_S
    fault_result(f"gave up after {waited_s:.2f} s (limit 2 s)")


@pytest.mark.fault("S5", "server away, back after 0.5 s", "tried again when its port opens; first picture is fresh")
def test_server_that_returns_is_found_by_its_port(fault_result: Callable[[str], None]) -> None:
    check_return(0.5, fault_result)


@full
@pytest.mark.fault("S5", "server away, back after 5 s and 30 s", "tried again when its port opens; picture is fresh")
@pytest.mark.parametrize("away_s", [5.0, 30.0])
def test_server_that_was_long_gone_is_found_by_its_port(away_s: float, fault_result: Callable[[str], None]) -> None:
    check_return(away_s, fault_result)


def check_return(away_s: float, fault_result: Callable[[str], None]) -> None:
    limits = HealthLimits(open_s=30.0, first_retry_s=20.0, longest_retry_s=60.0)
    with ServerProcess("rtsp") as first, open_camera(first, limits=limits) as heard:
        heard.until_frames(5)
        first.kill()
        heard.until_event("lost")
        away_until_s = time.monotonic() + away_s
        heard.until(lambda: time.monotonic() > away_until_s)
        with ServerProcess("rtsp", port=first.port):
            back_s = time.monotonic()
            heard.until_event("opened")
            recovered_s = heard.time_of("opened") - back_s
            heard.ages_ms.clear()
            heard.until_frames(15)
    assert recovered_s < limits.first_retry_s / 2
    middle = sorted(heard.ages_ms)[len(heard.ages_ms) // 2]
    assert middle < 2 * PERIOD_MS
    fault_result(f"back {recovered_s:.1f} s after the server, picture {middle:.0f} ms old")


SECRET = "hunter2"


@pytest.mark.fault("S6", "wrong password (Basic, Digest)", "`failed`, no further attempt, secret nowhere")
@pytest.mark.parametrize("reader", ONE_READER)
@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_wrong_password_fails_once_and_stays_secret(
    reader: str, scheme: str, caplog: pytest.LogCaptureFixture, fault_result: Callable[[str], None]
) -> None:
    arguments = ["--user", "admin", "--password", "right", "--authentication", scheme]
    with ServerProcess("rtsp", *arguments) as server:
        with open_camera(server, reader, user=f"admin:{SECRET}@") as heard:
            shown = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
            failed = heard.until_event("failed")
            accepted = server.accepted
            assert heard.source.read(0.5) is None
        assert "password is not accepted" in failed.reason
        assert server.accepted == accepted
        assert SECRET not in heard.source.name + caplog.text + "".join(event.reason for event in heard.events)
        assert not any(SECRET.encode() in line for line in shown)
    assert accepted <= 4
    assert heard.frames == []
    fault_result(f"failed after {accepted} connections")


@full
@pytest.mark.fault("S6", "right password (Basic, Digest)", "frames")
@pytest.mark.parametrize("reader", ONE_READER)
@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_right_password_opens(reader: str, scheme: str) -> None:
    arguments = ["--user", "ad min", "--password", "p@ss/w:rd", "--authentication", scheme]
    with (
        ServerProcess("rtsp", *arguments) as server,
        open_camera(server, reader, user="ad%20min:p%40ss%2Fw%3Ard@") as heard,
    ):
        heard.until_frames(1)
    assert heard.source.name == f"rtsp://***@127.0.0.1:{server.port}/live"


@pytest.mark.fault("S6", "404; a codec nothing decodes", "`failed` with the reason")
@pytest.mark.parametrize(
    ("reader", "arguments"),
    [
        pytest.param("pyav", ["--status", "404 Not Found"], id="404-pyav"),
        pytest.param("gstreamer", ["--status", "404 Not Found"], id="404-gstreamer", marks=[needs_gstreamer, full]),
        pytest.param("pyav", ["--codec", "VOODOO", "--size", "240x320"], id="codec-pyav", marks=full),
    ],
)
def test_what_a_retry_cannot_change_fails(reader: str, arguments: list[str]) -> None:
    with ServerProcess("rtsp", *arguments) as server, open_camera(server, reader) as heard:
        heard.until_event("failed")
    assert heard.frames == []


@full
@pytest.mark.fault("S7", "5 % of packets lost", "missing frames counted: given + withheld + missing = sent")
@pytest.mark.parametrize("reader", ONE_READER)
def test_lost_packets_are_counted(reader: str, fault_result: Callable[[str], None]) -> None:
    check_damage(reader, "lose", fault_result)


@full
@pytest.mark.fault("S7", "5 % of packets damaged", "damaged frames withheld and counted; given + withheld = sent")
@pytest.mark.parametrize("reader", ONE_READER)
def test_damaged_packets_are_withheld(reader: str, fault_result: Callable[[str], None]) -> None:
    check_damage(reader, "corrupt", fault_result)


def check_damage(reader: str, fault: str, fault_result: Callable[[str], None]) -> None:
    # a picture takes several packets, so that most losses take only a part of one
    with ServerProcess("rtsp", "--size", "240x320") as server, open_camera(server, reader) as heard:
        heard.until_frames(20)
        server.tell(f"{fault} 0.05")
        heard.until_frames(25)
        server.tell(f"{fault} 0")
        heard.until_frames(25)
    assert not heard.of_kind("lost")
    first, last = heard.frames[15], heard.frames[-1]
    assert first.pts is not None
    assert last.pts is not None
    assert first.time_base is not None
    sent = round((last.pts - first.pts) * first.time_base * FPS) + 1
    given, missing, withheld = len(heard.frames) - 15, heard.counted("gap"), heard.counted("corrupt")
    fault_result(f"{given} given, {withheld} withheld, {missing} missing of {sent}")
    assert missing + withheld > 0
    # a packet that cannot be decoded is a damaged frame, and may be the missing part of one that is withheld too
    assert abs(given + missing + withheld - sent) <= 1


@pytest.mark.fault("S8", "size changes in mid-stream", "new epoch, numbers from 0, right sizes")
@pytest.mark.parametrize("reader", ONE_READER)
def test_change_of_size_begins_an_epoch(reader: str) -> None:
    with ServerProcess("rtsp") as server, open_camera(server, reader) as heard:
        heard.until_frames(5)
        server.tell("size 128x352")
        changed = heard.until_event("epoch")
        heard.until_frames(3)
    assert changed.epoch == 1
    after = [frame for frame in heard.frames if frame.epoch == 1]
    assert [frame.seq for frame in after] == list(range(len(after)))
    assert {(frame.epoch, frame.size) for frame in heard.frames} == {(0, (96, 320)), (1, (128, 352))}
    assert not heard.of_kind("lost")


@full
@pytest.mark.fault("S9", "sequence and time stamps wrap around", "nothing happens")
@pytest.mark.parametrize("reader", READERS)
def test_numbers_that_wrap_around_do_no_harm(reader: str) -> None:
    arguments = ["--first-sequence", "65520", "--first-stamp", str(2**32 - 60_000)]
    with ServerProcess("rtsp", *arguments) as server, open_camera(server, reader) as heard:
        heard.until_frames(40)
    assert {event.kind for event in heard.events} <= {"opened", "gap"}
    stamps = [frame.pts for frame in heard.frames if frame.pts is not None]
    assert stamps == sorted(stamps)


@full
@pytest.mark.fault("S10", "healthy camera, painted time code", "median age < 0.6 periods (GStreamer), < 1.6 (PyAV)")
@pytest.mark.parametrize(
    ("reader", "fps"),
    [
        *(("pyav", fps) for fps in (10, 30, 60)),
        *(pytest.param("gstreamer", fps, marks=needs_gstreamer) for fps in (10, 30, 60)),
        ("http", 30),
    ],
)
def test_frames_are_young(reader: Reader, fps: int, fault_result: Callable[[str], None]) -> None:
    if busy := busy_reason():
        pytest.skip(f"this machine is too busy to measure: {busy}")
    age = measure(reader, fps, frames=15 if fps == 10 else 90)
    fault_result(f"{age.percentile(0.5):.1f} ms, {age.periods:.2f} periods")
    assert age.periods < AGE_LIMITS[reader]


@full
@pytest.mark.fault("S11", "reader three times too slow", "frames stay young; those given up are counted")
@pytest.mark.parametrize("reader", ONE_READER)
def test_slow_reader_gets_young_frames(reader: str, fault_result: Callable[[str], None]) -> None:
    with ServerProcess("rtsp") as server, open_camera(server, reader) as heard:
        heard.until_frames(10)
        heard.ages_ms.clear()
        for _ in range(15):
            time.sleep(3 * PERIOD_MS / 1000)
            heard.hear(1.0)
            while not isinstance(heard.hear(1.0), type(heard.frames[0])):
                pass
    # one period in PyAV, two in the inbox
    middle = sorted(heard.ages_ms)[len(heard.ages_ms) // 2]
    assert middle < 4 * PERIOD_MS
    assert heard.counted("gap") >= 6
    fault_result(f"{middle:.0f} ms old, {heard.counted('gap')} given up")


@pytest.mark.fault("S12", "Motion JPEG without first boundary, without or with wrong length", "frames")
@pytest.mark.parametrize(
    "fault", ["--no-first-boundary", *(pytest.param(one, marks=full) for one in ("", "--no-length", "--wrong-length"))]
)
def test_sloppy_motion_jpeg_is_read(fault: str) -> None:
    with ServerProcess("mjpeg", *filter(None, [fault])) as server, open_camera(server, path="video.mjpg") as heard:
        heard.until_frames(10)


@pytest.mark.fault("S12", "HTTP answer whose header never ends", "`lost` at the deadline, memory bounded")
def test_endless_header_is_given_up() -> None:
    limits = HealthLimits(open_s=2.0, first_retry_s=60.0)
    with (
        ServerProcess("mjpeg", "--endless-header") as server,
        open_camera(server, path="v.mjpg", limits=limits) as heard,
    ):
        heard.until_event("lost")
    assert heard.frames == []


@pytest.mark.fault("S12", "HTTP camera killed; wrong password; 404", "`lost` at once; `failed`; `failed`")
def test_http_camera_is_watched_like_the_others() -> None:
    with ServerProcess("mjpeg") as server, open_camera(server, path="video.mjpg") as heard:
        heard.until_frames(5)
        killed_s = time.monotonic()
        server.kill()
        heard.until_event("lost")
        assert heard.time_of("lost") - killed_s < LATE_S
    for arguments in (["--user", "a", "--password", "b"], ["--status", "404 Not Found"]):
        with (
            ServerProcess("mjpeg", *arguments) as server,
            open_camera(server, path="v.mjpg", user=f"a:{SECRET}@") as heard,
        ):
            failed = heard.until_event("failed")
            assert SECRET not in failed.reason


@pytest.mark.fault("R4", "capture process killed (SIGKILL)", "`lost` at once, replaced, nothing left in /dev/shm")
def test_killed_capture_process_is_replaced(fault_result: Callable[[str], None]) -> None:
    before, shared = children(), set(Path("/dev/shm").iterdir())
    with ServerProcess("rtsp") as server, open_camera(server) as heard:
        heard.until_frames(3)
        (capture,) = children() - before - {server.pid}
        os.kill(capture, 9)
        assert "SIGKILL" in heard.until_event("lost").reason
        heard.until_event("opened")
    assert set(Path("/dev/shm").iterdir()) <= shared
    assert children() - before == set()
    assert isinstance(heard.source, CaptureSource)
    fault_result("replaced")


@pytest.mark.fault(
    "S13", "HTTP camera repeats its last picture, then goes on", "`frozen` with the tenth, then `moving`"
)
def test_camera_that_repeats_itself_is_frozen_until_it_moves(fault_result: Callable[[str], None]) -> None:
    with ServerProcess("mjpeg") as server, open_camera(server, path="video.mjpg") as heard:
        heard.until_frames(5)
        server.tell("repeat")
        heard.until_event("frozen")
        heard.until_frames(5)
        server.tell("resume")
        heard.until_event("moving")
        heard.until_frames(5)
    # the first of ten that are equal is not known to be so, nor the next eight
    same = [np.array_equal(one.pixels, other.pixels) for one, other in itertools.pairwise(heard.frames)]
    unmarked = sum(is_same and not frame.is_frozen for is_same, frame in zip(same, heard.frames[1:], strict=True))
    assert unmarked <= 8
    assert not heard.frames[-1].is_frozen
    assert not heard.of_kind("lost")
    fault_result(f"said with picture {heard.of_kind('frozen')[0].count}")
