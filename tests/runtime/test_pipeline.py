from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import BackendError, IncompleteError, OutputError
from deblurrt.core.tensors import Array, TensorSpec
from deblurrt.datasets.resizing import enlarge_bicubic
from deblurrt.runtime import pipeline as pipeline_module
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.guard import Guard
from deblurrt.runtime.pipeline import QUEUE_FRAMES, Counts, Pipeline
from deblurrt.runtime.session import Session
from tests.fakes import WINDOWS, FakeBackend, KeptSink, ListSource, fake_session, plain_frame, plain_frames
from tests.live_fakes import textured

#: what callers are promised: an error reaches them within a second
SOON_S = 1.0
#: far more than any step takes; a test that waits this long has failed
PATIENCE_S = 10.0
#: more than pass until a request to stop is noticed
MANY_FRAMES = 100_000
#: two full queues, and one frame in the hands of each of decoder, network and sink
MOST_FRAMES_INSIDE = 2 * QUEUE_FRAMES + 3


def invert(frames: Array) -> Array:
    inverted: Array = 255 - frames
    return inverted


def numbers(sink: KeptSink) -> list[int]:
    return [frame.seq for frame in sink.frames]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def test_every_frame_arrives_restored_and_in_order() -> None:
    sinks = KeptSink("first"), KeptSink("second")
    Pipeline(ListSource(plain_frames(60)), fake_session(invert), sinks).run()
    for sink in sinks:
        assert numbers(sink) == list(range(60))
        assert [picture[0, 0, 0] for picture in sink.pictures] == [255 - seq for seq in range(60)]


def test_frame_keeps_what_it_says_of_itself() -> None:
    frame = Frame(np.zeros((2, 3, 3), np.uint8), 7, 123, "cam", 2, 1001, name="0007")
    sink = KeptSink()
    Pipeline(ListSource([frame]), fake_session(), [sink]).run()
    (written,) = sink.frames
    assert (written.seq, written.t_capture_ns, written.stream, written.epoch) == (7, 123, "cam", 2)
    assert (written.pts, written.name, written.color) == (1001, "0007", frame.color)


def test_ends_are_in_order() -> None:
    backend, source, sink = FakeBackend(), ListSource(plain_frames(3)), KeptSink()
    Pipeline(source, Session(backend, FrameContract()), [sink]).run()
    assert sink.end == "closed"
    assert source.is_closed
    assert not backend.is_closed


def test_source_without_frames_ends_at_once() -> None:
    pipeline = Pipeline(ListSource([]), fake_session(), [sink := KeptSink()])
    pipeline.run()
    assert (numbers(sink), sink.end, pipeline.counts.captured) == ([], "closed", 0)


class Flow:
    """Counts frames that went in and came out, and lets either side wait for the other."""

    def __init__(self, count: int) -> None:
        self.count, self.given, self.written, self.most_inside = count, 0, 0, 0
        self._changed = threading.Condition()

    def frames(self, wait_until_written: bool = False) -> Iterator[Frame]:
        for seq in range(self.count):
            with self._changed:
                if wait_until_written:
                    assert self._changed.wait_for(lambda: self.written == self.given, PATIENCE_S)
                self.given += 1
                self.most_inside = max(self.most_inside, self.given - self.written)
                self._changed.notify_all()
            yield plain_frame(seq)

    def write_late(self, _frame: Frame) -> None:
        """Take a frame only when no more fit in before it, or none follow."""
        with self._changed:
            full = min(self.written + MOST_FRAMES_INSIDE, self.count)
            assert self._changed.wait_for(lambda: self.given >= full, PATIENCE_S)
            self._count()

    def write(self, _frame: Frame) -> None:
        with self._changed:
            self._count()

    def _count(self) -> None:
        self.written += 1
        self._changed.notify_all()


def test_slow_sink_holds_the_source_back_and_loses_nothing() -> None:
    flow = Flow(100)
    sink = KeptSink(on_write=flow.write_late)
    Pipeline(ListSource(flow.frames()), fake_session(), [sink]).run()
    assert numbers(sink) == list(range(100))
    assert flow.most_inside == MOST_FRAMES_INSIDE


def test_slow_source_loses_nothing() -> None:
    flow = Flow(40)
    sink = KeptSink(on_write=flow.write)
    Pipeline(ListSource(flow.frames(wait_until_written=True)), fake_session(), [sink]).run()
    assert numbers(sink) == list(range(40))
    assert flow.most_inside == 1


def raiser(error: BaseException, at: int = 3) -> Callable[[object], None]:
    """Make a function that raises ``error`` at its call number ``at``, counted from 0."""
    calls = itertools.count()

    def fail(_value: object) -> None:
        if next(calls) == at:
            raise error

    return fail


def failing_network(error: BaseException) -> Callable[[Array], Array]:
    fail = raiser(error)

    def compute(frames: Array) -> Array:
        fail(frames)
        return frames

    return compute


def endless() -> Iterator[Frame]:
    return map(plain_frame, itertools.count())


NETWORK_ERROR, SINK_ERROR = BackendError("no memory"), OutputError("disk full")


@pytest.mark.parametrize(
    "error", [OutputError("disk full"), ZeroDivisionError("a defect")], ids=["on purpose", "defect"]
)
@pytest.mark.parametrize("stage", ["source", "network", "sink"])
def test_error_of_a_stage_reaches_the_caller_soon_and_leaves_no_output(stage: str, error: Exception) -> None:
    source = ListSource(plain_frames(3), error) if stage == "source" else ListSource(endless())
    session = fake_session(failing_network(error)) if stage == "network" else fake_session()
    sink = KeptSink(on_write=raiser(error)) if stage == "sink" else KeptSink()
    started = time.perf_counter()
    with pytest.raises(type(error)) as caught:
        Pipeline(source, session, [sink]).run()
    assert time.perf_counter() - started < SOON_S
    assert caught.value is error
    assert sink.end == "aborted"
    assert source.is_closed


def test_error_while_everybody_waits_ends_everybody() -> None:
    inside = threading.Semaphore(0)

    def compute(frames: Array) -> Array:
        assert inside.acquire(timeout=PATIENCE_S)
        raise NETWORK_ERROR

    def frames() -> Iterator[Frame]:
        for seq in itertools.count():
            yield plain_frame(seq)
            if seq == QUEUE_FRAMES:  # one is with the network, the next ones fill the queue
                inside.release()

    with pytest.raises(BackendError):
        Pipeline(ListSource(frames()), fake_session(compute), [KeptSink()]).run()


def test_error_reaches_the_caller_though_the_source_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "JOIN_S", 0.05)
    reader: list[threading.Thread] = []
    goes_on = threading.Event()

    def frames() -> Iterator[Frame]:
        reader.append(threading.current_thread())
        yield plain_frame(0)
        goes_on.wait(PATIENCE_S)

    source, sink = ListSource(frames()), KeptSink(on_write=raiser(SINK_ERROR, at=0))
    started = time.perf_counter()
    with pytest.raises(OutputError):
        Pipeline(source, fake_session(), [sink]).run()
    assert time.perf_counter() - started < SOON_S
    assert (sink.end, source.is_closed) == ("aborted", True)
    goes_on.set()
    reader[0].join(PATIENCE_S)


def test_incomplete_input_is_told_after_whole_outputs() -> None:
    error = IncompleteError("cut off after 5 frames")
    source, sink = ListSource(plain_frames(5), error), KeptSink()
    with pytest.raises(IncompleteError) as caught:
        Pipeline(source, fake_session(), [sink]).run()
    assert caught.value is error
    assert (numbers(sink), sink.end) == (list(range(5)), "closed")
    assert source.is_closed


class FailsOnClose(KeptSink):
    """A sink whose disk is full only at the end."""

    def close(self) -> None:
        raise SINK_ERROR


def fails_on_write() -> KeptSink:
    return KeptSink("bad", raiser(SINK_ERROR))


def fails_on_close() -> KeptSink:
    return FailsOnClose("bad")


@pytest.mark.parametrize("make_bad", [fails_on_write, fails_on_close])
@pytest.mark.parametrize("is_first", [True, False])
def test_one_failing_sink_of_two_leaves_the_other_whole(make_bad: Callable[[], KeptSink], is_first: bool) -> None:
    bad, good = make_bad(), KeptSink("good")
    with pytest.raises(IncompleteError) as caught:
        Pipeline(ListSource(plain_frames(30)), fake_session(), [bad, good] if is_first else [good, bad]).run()
    assert str(caught.value) == "bad was given up: disk full"
    assert caught.value.__cause__ is SINK_ERROR
    assert (bad.end, good.end) == ("aborted", "closed")
    assert numbers(good) == list(range(30))


def test_all_sinks_failing_is_their_error() -> None:
    sinks = [KeptSink(name, raiser(OutputError("disk full"))) for name in ("first", "second")]
    with pytest.raises(OutputError, match="disk full"):
        Pipeline(ListSource(endless()), fake_session(), sinks).run()
    assert [sink.end for sink in sinks] == ["aborted", "aborted"]


def test_stop_ends_with_whole_outputs_of_fewer_frames() -> None:
    stop, is_asked = threading.Event(), threading.Event()

    def frames() -> Iterator[Frame]:
        for seq in range(10):
            yield plain_frame(seq)
        assert is_asked.wait(PATIENCE_S)
        yield from map(plain_frame, range(10, MANY_FRAMES))

    def ask(frame: Frame) -> None:
        if frame.seq == 4:
            stop.set()
            is_asked.set()

    sink = KeptSink(on_write=ask)
    pipeline = Pipeline(ListSource(frames()), fake_session(), [sink])
    pipeline.run(stop=stop)
    assert sink.end == "closed"
    assert numbers(sink) == list(range(len(sink.frames)))
    assert 5 <= len(sink.frames) == pipeline.counts.deblurred <= pipeline.counts.captured < MANY_FRAMES


def test_interrupt_of_the_caller_aborts_the_outputs() -> None:
    source, sink = ListSource(endless()), KeptSink()

    def interrupt(counts: Counts) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Pipeline(source, fake_session(), [sink]).run(interrupt)
    assert (sink.end, source.is_closed) == ("aborted", True)


def test_progress_is_told_from_the_callers_thread() -> None:
    callers: list[threading.Thread] = []
    told = threading.Event()

    def frames() -> Iterator[Frame]:
        yield plain_frame(0)
        assert told.wait(PATIENCE_S)
        yield plain_frame(1)

    def on_progress(counts: Counts) -> None:
        callers.append(threading.current_thread())
        if counts.emitted == {"kept": 1}:
            told.set()

    Pipeline(ListSource(frames()), fake_session(), [KeptSink()]).run(on_progress)
    assert set(callers) == {threading.current_thread()}


def middle(windows: Array) -> Array:
    middle_frame: Array = windows[:, 1]
    return middle_frame


def neighbours(frames: list[Frame]) -> list[list[int]]:
    """Run ``frames`` through a network of three and list the numbers it saw together."""
    backend, sink = FakeBackend(middle, WINDOWS), KeptSink()
    Pipeline(ListSource(frames), Session(backend, FrameContract(window=3)), [sink]).run()
    assert numbers(sink) == [frame.seq for frame in frames]
    assert [int(picture[0, 0, 0]) for picture in sink.pictures] == [frame.seq for frame in frames]
    return [window[0, :, 0, 0, 0].tolist() for window in backend.seen]


def test_network_of_three_sees_the_neighbours() -> None:
    assert neighbours(plain_frames(4)) == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]


def test_network_of_three_sees_a_single_frame_three_times() -> None:
    assert neighbours(plain_frames(1)) == [[0, 0, 0]]


def test_network_of_three_sees_no_neighbour_across_epochs() -> None:
    frames = [plain_frame(seq, epoch=int(seq >= 2)) for seq in range(4)]
    assert neighbours(frames) == [[0, 0, 1], [0, 1, 1], [2, 2, 3], [2, 3, 3]]


def test_network_of_three_sees_no_neighbour_of_another_size() -> None:
    frames = [plain_frame(0), plain_frame(1, (4, 4)), plain_frame(2, (4, 4))]
    assert neighbours(frames) == [[0, 0, 0], [1, 1, 2], [1, 2, 2]]


def test_slow_sink_holds_back_a_network_of_three_as_well() -> None:
    flow = Flow(50)
    session = Session(FakeBackend(middle, WINDOWS), FrameContract(window=3))
    sink = KeptSink(on_write=flow.write_late)
    Pipeline(ListSource(flow.frames()), session, [sink]).run()
    assert numbers(sink) == list(range(50))
    assert flow.most_inside <= MOST_FRAMES_INSIDE + 1  # the next frame waits beside the current one


def test_side_by_side_shows_the_untouched_frame_on_the_left() -> None:
    sink = KeptSink()
    Pipeline(ListSource(plain_frames(2)), fake_session(invert), [sink], side_by_side=True).run()
    assert [picture.shape for picture in sink.pictures] == [(2, 6, 3)] * 2
    np.testing.assert_array_equal(sink.pictures[1][:, :3], np.full((2, 3, 3), 1))
    np.testing.assert_array_equal(sink.pictures[1][:, 3:], np.full((2, 3, 3), 254))


def enlarge(array: Array) -> Array:
    enlarged: Array = array.repeat(4, axis=1).repeat(4, axis=2)
    return enlarged


def test_untouched_frame_beside_an_enlarged_one_is_its_bicubic_enlargement() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    session = Session(FakeBackend(enlarge), FrameContract(task="deblur_sr", scale=4))
    sink = KeptSink()
    Pipeline(ListSource([Frame(noise, 0, 0, stream="list")]), session, [sink], side_by_side=True).run()
    left, right = np.split(sink.pictures[0], 2, axis=1)
    assert np.array_equal(left, enlarge_bicubic(noise, 4))
    assert np.array_equal(right, noise.repeat(4, axis=0).repeat(4, axis=1))


def test_counts_and_latency_cover_every_frame_and_stage() -> None:
    frames = [plain_frame(seq, epoch=seq // 4) for seq in range(10)]
    pipeline = Pipeline(ListSource(frames), fake_session(), [KeptSink("first"), KeptSink("second")])
    pipeline.run()
    counts = pipeline.counts
    assert (counts.captured, counts.deblurred, counts.epochs) == (10, 10, 3)
    assert counts.emitted == {"first": 10, "second": 10}
    assert counts.started_s <= counts.ended_s
    reported = {stage: pipeline.latency.report(stage).count for stage in pipeline.latency.stages}
    assert reported == {"decode": 10, "network": 10, "encode": 20, "total": 20}


class Untidy(KeptSink):
    """A sink that cannot clean up behind itself."""

    def abort(self) -> None:
        raise RuntimeError("cannot remove the part")


class UntidySource(ListSource):
    """A source that cannot be closed."""

    def close(self) -> None:
        raise RuntimeError("cannot close the camera")


def test_failing_cleanup_does_not_hide_the_error_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    other = KeptSink("other")
    session = fake_session(failing_network(NETWORK_ERROR))
    with pytest.raises(BackendError, match="no memory"):
        Pipeline(UntidySource(endless()), session, [Untidy("untidy"), other]).run()
    assert other.end == "aborted"
    messages = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
    assert messages == {"cleaning up failed: cannot remove the part", "cleaning up failed: cannot close the camera"}


def test_failing_cleanup_of_one_sink_keeps_the_other_running() -> None:
    good = KeptSink("good")
    with pytest.raises(IncompleteError, match="bad was given up: disk full"):
        Pipeline(ListSource(plain_frames(20)), fake_session(), [Untidy("bad", raiser(SINK_ERROR)), good]).run()
    assert (numbers(good), good.end) == (list(range(20)), "closed")


def textured_frames(count: int) -> list[Frame]:
    return [Frame(textured(seq), seq, 0) for seq in range(count)]


def black_at(places: set[int]) -> Callable[[Array], Array]:
    calls = itertools.count()
    return lambda frames: np.zeros_like(frames) if next(calls) in places else frames - 1


def test_untouched_frame_goes_out_where_the_networks_picture_cannot_be_right(caplog: pytest.LogCaptureFixture) -> None:
    frames, sink = textured_frames(9), KeptSink()
    pipeline = Pipeline(ListSource(frames), fake_session(black_at({2, 5, 6})), [sink], guard=Guard())
    pipeline.run()
    for seq, (frame, written) in enumerate(zip(frames, sink.pictures, strict=True)):
        assert np.array_equal(written, frame.pixels if seq in (2, 5, 6) else frame.pixels - 1)
    assert pipeline.counts.faults == {"the network gave a black picture": 3}
    assert pipeline.counts.deblurred == 6
    assert [record.getMessage() for record in caplog.records] == [
        "frame 2 goes out untouched: the network gave a black picture; further ones are counted"
    ]


def test_faults_of_one_cause_with_other_figures_are_one_cause() -> None:
    pipeline = Pipeline(ListSource(textured_frames(3)), fake_session(invert), [KeptSink()], guard=Guard())
    pipeline.run()
    assert list(pipeline.counts.faults.values()) == [3]


def test_values_that_are_no_numbers_let_the_enlarged_frame_out() -> None:
    taken = TensorSpec("frames", "float32", ("batch", 3, "height", "width"))
    given = TensorSpec("restored", "float32", ("batch", 3, "height", "width"))

    def compute(frames: Array) -> Array:
        return np.full((1, 3, 4 * frames.shape[2], 4 * frames.shape[3]), np.nan, np.float32)

    session = Session(FakeBackend(compute, taken, given), FrameContract(io="float", scale=4), "fake")
    (frame,), sink = textured_frames(1), KeptSink()
    pipeline = Pipeline(ListSource([frame]), session, [sink], guard=Guard(4))
    pipeline.run()
    assert np.array_equal(sink.pictures[0], enlarge_bicubic(frame.pixels, 4))
    assert pipeline.counts.faults.total() == 1


def test_network_that_fails_still_ends_the_run_with_a_guard() -> None:
    sink = KeptSink()
    with pytest.raises(BackendError):
        Pipeline(
            ListSource(textured_frames(5)), fake_session(failing_network(NETWORK_ERROR)), [sink], guard=Guard()
        ).run()
    assert sink.end == "aborted"
