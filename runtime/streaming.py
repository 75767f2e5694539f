"""Restored frames one by one, for programs: ``for result in stream("rtsp://camera.lan/live"): …``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import cast

from ..core.errors import UsageError
from .blur_gate import BlurGate
from .channel import Channel
from .file_account import FileAccount, NoSink
from .guard import Guard
from .isolated_network import isolated
from .ledger import Ledger
from .live_runner import JOIN_S, LiveConfig, LiveRunner
from .live_source import LiveSource
from .outbox import Outbox
from .paced_source import PacedSource
from .pipeline import Pipeline, clean_up
from .session import Session, SessionConfig, open_session
from .source_uris import is_live_uri, open_live_source
from .sources import Source, open_source
from .terminal import Result, Terminal, enlarged

#: results of a file that may wait for the caller; the file waits too
FILE_RESULTS = 2
#: how often an iteration looks whether the run behind it has ended
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """How a stream is restored.

    Attributes:
        session: Backend, precision and threads; its own model is replaced.
        live: Deadline, policy and blur gate. A file is played at its own speed where it has a deadline,
            else every frame of it is restored, however long that takes.
        ladder: Smaller models, used in this order while the one before is too slow; live only.
        write_line: Takes a line of the ledger for every frame; None for none.
        has_guard: Whether a file's frame goes out untouched where the network's picture cannot be right; live
            ones always do.
        isolate: Whether the networks run in a process of their own, which is killed where they hang; live only.
    """

    session: SessionConfig = field(default_factory=SessionConfig)
    live: LiveConfig = field(default_factory=LiveConfig)
    ladder: tuple[str | Path, ...] = ()
    write_line: Callable[[dict[str, object]], None] | None = None
    has_guard: bool = True
    isolate: bool = False


def stream(
    source: str | Path | Source | LiveSource,
    model: str | Path | Session = "default",
    config: StreamConfig | None = None,
) -> Iterator[Result]:
    """Restore a camera, a stream or a file, and yield every frame that goes out, in order.

    Live, a caller who is slower than the camera gets the newest frame next; what it was too slow for is
    skipped. A file waits for the caller. Leaving the loop ends the threads behind it, at the latest
    when the iterator is closed.

    Args:
        source: URI of a camera or stream, path of a file, or a source, which is closed at the end.
        model: Shipped name or path of a model, or an open session, which is left open.
        config: Backend, deadline, ladder.

    Example:
        >>> for result in stream("rtsp://camera.lan/live", model="fast"):
        ...     show(result.restored, was_restored=result.state is Terminal.DEBLURRED)

    Raises:
        UsageError: An open session, or a file without a deadline, is to be isolated.
        SourceError: A file cannot be read at all.
        ModelFileError: There is no such model, or it does not fit.
        MachineError: No backend can run it here.
        IncompleteError: A file is damaged; all that can be read has been yielded.
    """
    config = config or StreamConfig()
    if isinstance(source, (str, Path)):
        source = open_live_source(str(source)) if is_live_uri(str(source)) else open_source(source)
    with ExitStack() as stack:
        stack.callback(source.close)
        if not hasattr(source, "read"):
            if config.live.deadline_ms is None:
                if config.isolate:
                    raise UsageError("isolate goes with cameras and streams, or files with a deadline")
                yield from _all_of(source, _session(model, config, stack), config)
                return
            source = PacedSource(source)
        yield from _newest_of(cast("LiveSource", source), model, config)


def _session(model: str | Path | Session, config: StreamConfig, stack: ExitStack) -> Session:
    if isinstance(model, Session):
        return model
    return stack.enter_context(open_session(model, config.session))


def _newest_of(source: LiveSource, model: str | Path | Session, config: StreamConfig) -> Iterator[Result]:
    open_all = partial(_open_ladder, model, config.session, config.ladder)
    if config.isolate and isinstance(model, Session):
        raise UsageError("an open session runs in this process; give the name or path of its model to isolate it")
    open_networks = isolated(open_all) if config.isolate else open_all
    networks = open_networks()
    scale = networks[0].contract.scale
    reopen = None if isinstance(model, Session) else open_networks
    outbox = Outbox("caller", 1, True, lambda sink, result, ms: ledger.add_emitted(sink, result.frame, ms))
    try:
        runner = LiveRunner([source], networks, [[outbox]], config.live, reopen, config.write_line)
    except BaseException:
        for network in networks:
            clean_up(network.close)
        raise
    ledger = runner.ledgers[0]
    run = _Background(lambda stop: runner.run(stop=stop), outbox.finish)
    try:
        while not outbox.is_over:
            result = outbox.get(LOOK_S)
            if result is not None:
                outbox.done(result)
                yield _full(result, scale)
    finally:
        run.end()
    run.raise_failure()


def _open_ladder(model: str | Path | Session, config: SessionConfig, ladder: Sequence[str | Path]) -> Sequence[Session]:
    with ExitStack() as opened:
        networks: list[Session] = []
        for one in (model, *ladder):
            networks.append(_Borrowed(one) if isinstance(one, Session) else open_session(one, config))
            opened.callback(networks[-1].close)
        opened.pop_all()
        return networks


def _all_of(source: Source, session: Session, config: StreamConfig) -> Iterator[Result]:
    results: Channel[Result] = Channel(FILE_RESULTS)
    account = FileAccount(Ledger(source.info.name, (), config.write_line), session.model, results.put)
    gate = BlurGate() if config.live.has_gate else None
    guard = Guard(session.contract.scale) if config.has_guard else None
    pipeline = Pipeline(source, session, [NoSink()], gate=gate, account=account, guard=guard)
    run = _Background(lambda stop: pipeline.run(stop=stop), results.finish)
    try:
        while (result := results.get()) is not None:
            yield result
    finally:
        results.cut()
        run.end()
    run.raise_failure()


def _full(result: Result, scale: int) -> Result:
    """Give a frame that passed the size of a restored one."""
    if scale == 1 or result.state is Terminal.DEBLURRED:
        return result
    return replace(result, restored=enlarged(result, scale))


class _Background:
    """A run in a thread of its own."""

    def __init__(self, run: Callable[[threading.Event], None], finish: Callable[[], object]) -> None:
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._run, self._finish = run, finish
        self._thread = threading.Thread(target=self._guarded, name="stream", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop the run and wait for it."""
        self._stop.set()
        self._thread.join(4 * JOIN_S)

    def raise_failure(self) -> None:
        """Raise what ended the run, where it did not end as it should."""
        if self._error is not None:
            raise self._error

    def _guarded(self) -> None:
        try:
            self._run(self._stop)
        except BaseException as error:  # handed to the caller of stream()
            self._error = error
        finally:
            self._finish()


class _Borrowed(Session):
    """A caller's session, which the run does not close."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.backend, session.contract, session.model)

    def close(self) -> None:
        """Leave it open."""
