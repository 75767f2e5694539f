"""Decode, network and encode at the same time: threads, bounded queues, errors, shutdown."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ..core.errors import DeblurrtError, IncompleteError
from ..datasets.resizing import enlarge_bicubic
from .blur_gate import BlurGate
from .channel import Channel
from .file_account import FileAccount
from .frame import Frame, Pixels
from .guard import Guard, cause_of
from .judged_network import JudgedNetwork
from .latency import LatencyRecorder
from .session import Session
from .sinks import Sink
from .sources import Interruptible, Source
from .terminal import Terminal

logger = logging.getLogger(__name__)

#: frames waiting between two stages; more only costs memory
QUEUE_FRAMES = 4
#: how often the caller's progress and stop request are looked at
POLL_S = 0.05
#: how long a stage may take to notice the end; one decoding or network call at the most
JOIN_S = 30.0


@dataclass(slots=True)
class Counts:
    """What happened to the frames so far.

    Attributes:
        captured: Frames the source gave.
        deblurred: Frames the network restored.
        passed: Frames the blur gate left as they are.
        faults: Frames that went out untouched because the network's picture could not be right, by cause.
        emitted: Frames each sink took, by its path.
        epochs: Formats seen; one unless a stream changed.
        started_s: ``time.perf_counter()`` when the first frame was asked for.
        ended_s: The same when the last sink had closed.
    """

    captured: int = 0
    deblurred: int = 0
    passed: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    emitted: dict[str, int] = field(default_factory=dict)
    epochs: int = 0
    started_s: float = 0.0
    ended_s: float = 0.0


class Pipeline:
    """Runs every frame of a source through a session into sinks, losing none.

    Three kinds of threads overlap: one decodes, one runs the network, one per sink encodes. A
    stage that fails ends the others and its error reaches the caller of ``run``; a sink that fails
    beside others that do not is left out, and the run ends as incomplete.

    Args:
        source: Where frames come from; closed at the end.
        session: What restores them; left open.
        sinks: Where they go; each is closed at the end, or aborted after a failure.
        side_by_side: Whether sinks get the untouched frame on the left of the restored one, enlarged
            bicubically where the model enlarges.
        gate: Judges frames; sharp ones are left as they are. None restores all.
        account: Told of every frame; None where nobody asks.
        guard: Judges the network's pictures; where one cannot be right the untouched frame goes out. None
            takes all for right.
    """

    def __init__(
        self,
        source: Source,
        session: Session,
        sinks: Sequence[Sink],
        *,
        side_by_side: bool = False,
        gate: BlurGate | None = None,
        account: FileAccount | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._source, self._sinks = source, list(sinks)
        self._contract = session.contract
        self._side_by_side, self._account = side_by_side, account
        self._decoded: Channel[Frame] = Channel(QUEUE_FRAMES)
        self._restored: list[Channel[Frame]] = [Channel(QUEUE_FRAMES) for _ in self._sinks]
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._incomplete: IncompleteError | None = None
        self._sink_errors: dict[int, DeblurrtError] = {}
        self._lock = threading.Lock()
        self.counts = Counts(emitted={str(sink.path): 0 for sink in self._sinks})
        self.latency = LatencyRecorder()
        self._network = JudgedNetwork(session, gate, guard, self.latency)

    def run(self, on_progress: Callable[[Counts], None] | None = None, stop: threading.Event | None = None) -> None:
        """Run to the end of the source.

        Args:
            on_progress: Called about twenty times a second from this thread.
            stop: When set, no more frames are read; what is restored already is still written.

        Raises:
            IncompleteError: Part of the input could not be read or one of several sinks failed;
                outputs are whole and in place.
            DeblurrtError: Of the stage that failed; no output is left.
        """
        stages: list[Callable[[], None]] = [self._decode, self._restore]
        stages += [partial(self._write, index) for index in range(len(self._sinks))]
        threads = [threading.Thread(target=self._guarded, args=(stage,), daemon=True) for stage in stages]
        self.counts.started_s = time.perf_counter()
        for thread in threads:
            thread.start()
        try:
            self._watch(threads, on_progress, stop)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            for thread in threads:
                thread.join(JOIN_S)
            self._finish()
        self._raise_failure()

    def _watch(
        self,
        threads: Sequence[threading.Thread],
        on_progress: Callable[[Counts], None] | None,
        stop: threading.Event | None,
    ) -> None:
        while any(thread.is_alive() for thread in threads):
            if stop is not None and stop.is_set():
                self._stopping.set()
                if isinstance(self._source, Interruptible):
                    self._source.interrupt()
            if on_progress is not None:
                on_progress(self.counts)
            if self._error is not None:
                return
            threads[-1].join(POLL_S)
            if not threads[-1].is_alive():
                time.sleep(POLL_S)

    def _guarded(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as error:  # handed to the caller of run()
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
        self._stopping.set()
        for channel in (self._decoded, *self._restored):
            channel.cut()

    def _decode(self) -> None:
        frames = iter(self._source)
        epoch = None
        while not self._stopping.is_set():
            started = time.perf_counter()
            try:
                frame = next(frames, None)
            except IncompleteError as error:
                self._incomplete = error
                break
            if frame is None:
                break
            self.latency.add("decode", time.perf_counter() - started)
            self.counts.captured += 1
            self.counts.epochs += frame.epoch != epoch
            epoch = frame.epoch
            if self._account is not None:
                self._account.captured(frame)
            if not self._decoded.put(frame):
                break
        self._decoded.finish()

    def _restore(self) -> None:
        for previous, frame, following in self._windows():
            if self._stopping.is_set():
                continue
            restored = self._restored_pixels(previous, frame, following)
            if self._side_by_side:
                untouched = enlarge_bicubic(frame.pixels, self._contract.scale)
                restored = np.concatenate([untouched, restored], axis=1)
            outgoing = replace(frame, pixels=restored)
            for channel in self._restored:
                channel.put(outgoing)
        for channel in self._restored:
            channel.finish()

    def _restored_pixels(self, previous: Pixels | None, frame: Frame, following: Pixels | None) -> Pixels:
        started_ns = time.monotonic_ns()
        restored, state, reason = self._network.restore(previous, frame, following)
        self._count(frame, state, reason)
        if self._account is not None:
            self._account.ended(frame, restored, started_ns, state, reason)
        return restored

    def _count(self, frame: Frame, state: Terminal, reason: str) -> None:
        self.counts.deblurred += state is Terminal.DEBLURRED
        self.counts.passed += state is Terminal.PASS_SHARP
        if state is Terminal.PASS_FAULT:
            cause = cause_of(reason)
            if not self.counts.faults[cause]:
                logger.warning("frame %d goes out untouched: %s; further ones are counted", frame.seq, reason)
            self.counts.faults[cause] += 1

    def _windows(self) -> Iterator[tuple[Pixels | None, Frame, Pixels | None]]:
        """Yield each frame with its neighbours of the same epoch; None stands for a missing one."""
        if self._contract.window == 1:
            while (frame := self._decoded.get()) is not None:
                yield None, frame, None
            return
        before: Frame | None = None
        current = self._decoded.get()
        while current is not None:
            after = self._decoded.get()
            yield _neighbour(before, current), current, _neighbour(after, current)
            before, current = current, after

    def _write(self, index: int) -> None:
        sink, channel = self._sinks[index], self._restored[index]
        try:
            while (frame := channel.get()) is not None:
                started = time.perf_counter()
                sink.write(frame)
                self.latency.add("encode", time.perf_counter() - started)
                self.latency.add("total", (time.monotonic_ns() - frame.t_capture_ns) / 1e9)
                self.counts.emitted[str(sink.path)] += 1
                if self._account is not None:
                    self._account.emitted(str(sink.path), frame)
            if self._error is None:
                sink.close()
        except DeblurrtError as error:
            self._drop_sink(index, error)

    def _drop_sink(self, index: int, error: DeblurrtError) -> None:
        with self._lock:
            self._sink_errors[index] = error
            is_last = len(self._sink_errors) == len(self._sinks)
        self._restored[index].cut()
        clean_up(self._sinks[index].abort)
        if is_last:
            raise error

    def _finish(self) -> None:
        """Release the source and, after a failure, what the sinks wrote."""
        self.counts.ended_s = time.perf_counter()
        if self._error is not None:
            for sink in self._sinks:
                clean_up(sink.abort)
        clean_up(self._source.close)
        if self._account is not None:
            self._account.finish()

    def _raise_failure(self) -> None:
        if self._error is not None:
            raise self._error
        if self._sink_errors:
            index, error = next(iter(self._sink_errors.items()))
            raise IncompleteError(f"{self._sinks[index].path} was given up: {error}") from error
        if self._incomplete is not None:
            raise self._incomplete


def clean_up(release: Callable[[], None]) -> None:
    """Call ``release``; where it fails that is logged, so that the error that came first is not hidden."""
    try:
        release()
    except Exception as error:  # sources and sinks may be anybody's
        logger.warning("cleaning up failed: %s", error)


def _neighbour(other: Frame | None, frame: Frame) -> Pixels | None:
    is_same_stream = other is not None and other.epoch == frame.epoch and other.size == frame.size
    return other.pixels if other is not None and is_same_stream else None
