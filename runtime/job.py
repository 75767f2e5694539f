"""From a path to a path: the whole job in one call, and the account of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import IncompleteError, UsageError
from .blur_gate import BlurGate
from .file_account import FileAccount, NoSink, OnResult, ignore
from .guard import Guard
from .ledger import Ledger
from .ledger_file import LedgerFile
from .pipeline import Counts, Pipeline, clean_up
from .session import Session, SessionConfig, open_session
from .sinks import Sink, open_sink
from .sources import Source, SourceInfo, open_source

if TYPE_CHECKING:
    from fractions import Fraction


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How a run is done.

    Attributes:
        session: Model, backend, precision, threads; or an open session, which is used and left open.
        side_by_side: Whether outputs show the untouched frame on the left.
        force: Whether existing outputs are replaced.
        has_gate: Whether sharp frames are left as they are.
        ledger: File that gets a line for every frame; None for none.
        on_result: Takes every frame that goes out, with the untouched one; the run waits for it.
        has_guard: Whether the untouched frame goes out where the network's picture cannot be right.
        untagged_matrix: Colour matrix of a video that names none (``MATRICES``); None to go by its height.
    """

    session: SessionConfig | Session = field(default_factory=SessionConfig)
    side_by_side: bool = False
    force: bool = False
    has_gate: bool = False
    ledger: Path | None = None
    on_result: OnResult | None = None
    has_guard: bool = True
    untagged_matrix: int | None = None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The account of a run.

    Attributes:
        source: Name of the source.
        model: Name of the model.
        backend: Library, device, arithmetic and threads.
        captured: Frames the source gave.
        emitted: Frames written, by output.
        states: Frames by what became of them.
        faults: Frames that went out untouched because the network's picture could not be right, by cause.
        epochs: Formats seen.
        elapsed_s: From the first frame asked for to the last output closed.
        latency_ms: From having a frame to having written it; p50, p90, p99, p99.9, max.
        stages_ms: The same per stage.
        psnr_db: Against a known truth, ``{"before": …, "after": …}``; empty without one.
        incomplete: Why part is missing, None where nothing is.
        was_stopped: Whether the run was ended from outside.
    """

    source: str
    model: str
    backend: str
    captured: int
    emitted: dict[str, int]
    states: dict[str, int]
    epochs: int
    elapsed_s: float
    latency_ms: dict[str, float | int | None]
    stages_ms: dict[str, dict[str, float | int | None]]
    psnr_db: dict[str, float] = field(default_factory=dict)
    incomplete: str | None = None
    was_stopped: bool = False
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        """Frames restored per second over the whole run."""
        return round(self.states.get("deblurred", 0) / self.elapsed_s, 2) if self.elapsed_s > 0 else 0.0

    @property
    def went_out(self) -> int:
        """Frames that were not dropped, restored or not."""
        return self.captured - self.states.get("dropped_shutdown", 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values: dict[str, Any] = {
            "captured": self.captured,
            "emitted": self.emitted,
            "states": self.states,
            "epochs": self.epochs,
            "fps": self.fps,
            "latency_ms": self.latency_ms,
            "stages_ms": self.stages_ms,
            "elapsed_s": round(self.elapsed_s, 3),
            "source": self.source,
            "model": self.model,
            "backend": self.backend,
            "incomplete": self.incomplete,
            "stopped": self.was_stopped,
        }
        others = {"psnr_db": self.psnr_db, "faults": self.faults}
        return values | {name: value for name, value in others.items() if value}


#: called with what happened so far and what is known of the source
Progress = Callable[[Counts, SourceInfo], None]


def run(
    source: str | Path | Source,
    sinks: Sequence[str | Path | Sink],
    config: RunConfig | None = None,
    on_progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> RunSummary:
    """Deblur a video or a folder of pictures into files.

    Args:
        source: Path of a video, a picture or a folder of pictures, or a ``Source``.
        sinks: Paths or ``Sink`` objects; none where a ledger or ``on_result`` takes the results.
        config: Model, backend and how to treat existing outputs.
        on_progress: Called about twenty times a second.
        stop: When set, the run ends early with whole outputs.

    Returns:
        The account; where input was truncated, or frames went out untouched because of the network, its
        ``incomplete`` says so and outputs are kept.

    Raises:
        UsageError: There is no sink, or one is named twice.
        SourceError: The source cannot be read at all.
        OutputError: An output exists, its folder is missing or the disk is full.
        ModelFileError: There is no such model, or it does not fit.
        MachineError: No backend can run it here.
    """
    config = config or RunConfig()
    if not sinks and config.on_result is None and config.ledger is None:
        raise UsageError("no output is named; give the path of at least one")
    places_named = [str(sink) for sink in sinks if isinstance(sink, (str, Path))]
    if len(set(places_named)) < len(places_named):
        raise UsageError("an output is named twice; give every output a name of its own")
    opened = _source(source, config)
    places: list[Sink] = []
    try:
        for sink in sinks:
            places.append(_sink(sink, source, opened.info.frame_rate, config.force))
        places = places or [NoSink()]
        with _opened(config.session) as session:
            session.warm_up(opened.info.size)
            return _run(opened, session, places, config, on_progress, stop)
    finally:
        clean_up(opened.close)
        for place in places:
            clean_up(place.abort)


@contextmanager
def _opened(session: SessionConfig | Session) -> Iterator[Session]:
    if isinstance(session, Session):
        yield session
        return
    with open_session(session.model, session) as opened:
        yield opened


def _source(source: str | Path | Source, config: RunConfig) -> Source:
    if not isinstance(source, (str, Path)):
        return source
    return open_source(source, untagged_matrix=config.untagged_matrix)


def _sink(sink: str | Path | Sink, source: str | Path | Source, rate: Fraction | None, force: bool) -> Sink:
    if not isinstance(sink, (str, Path)):
        return sink
    copy_from = Path(source) if isinstance(source, (str, Path)) and Path(source).is_file() else None
    return open_sink(sink, force=force, copy_from=copy_from, frame_rate=rate)


def _states(counts: Counts) -> dict[str, int]:
    """What became of every captured frame; what a stop left in the queues was dropped."""
    left = counts.captured - counts.deblurred - counts.passed - counts.faults.total()
    others = {"pass_sharp": counts.passed, "pass_fault": counts.faults.total(), "dropped_shutdown": left}
    return {"deblurred": counts.deblurred} | {state: count for state, count in others.items() if count}


def _untouched(counts: Counts) -> list[str]:
    """Say how many frames the network gave no picture for that can be right; empty where none."""
    if not counts.faults:
        return []
    causes = "; ".join(f"{cause} ({count} times)" for cause, count in counts.faults.items())
    return [f"{counts.faults.total()} of {counts.captured} frames went out untouched: {causes}"]


@contextmanager
def _account(name: str, session: Session, sinks: Sequence[Sink], config: RunConfig) -> Iterator[FileAccount | None]:
    """Keep an account where somebody asks for one."""
    if config.ledger is None and config.on_result is None:
        yield None
        return
    with ExitStack() as stack:
        lines = None
        if config.ledger is not None:
            lines = LedgerFile(config.ledger, force=config.force)
            stack.callback(lines.close)
        ledger = Ledger(name, [str(sink.path) for sink in sinks], None if lines is None else lines.write)
        yield FileAccount(ledger, session.model, config.on_result or ignore)


def _run(
    source: Source,
    session: Session,
    sinks: Sequence[Sink],
    config: RunConfig,
    on_progress: Progress | None,
    stop: threading.Event | None,
) -> RunSummary:
    info = source.info
    missing: list[str] = []
    with _account(info.name, session, sinks, config) as account:
        pipeline = Pipeline(
            source,
            session,
            sinks,
            side_by_side=config.side_by_side,
            gate=BlurGate() if config.has_gate else None,
            account=account,
            guard=Guard(session.contract.scale) if config.has_guard else None,
        )
        try:
            pipeline.run(None if on_progress is None else lambda counts: on_progress(counts, info), stop)
        except IncompleteError as error:
            missing.append(str(error))
    missing += _untouched(pipeline.counts)
    counts, latency = pipeline.counts, pipeline.latency
    return RunSummary(
        source=info.name,
        model=session.model,
        backend=session.backend.description,
        captured=counts.captured,
        emitted={name: count for name, count in counts.emitted.items() if name != str(NoSink.path)},
        states=_states(counts),
        epochs=counts.epochs,
        elapsed_s=counts.ended_s - counts.started_s,
        latency_ms=latency.report("total").to_dict(),
        stages_ms={stage: latency.report(stage).to_dict() for stage in latency.stages if stage != "total"},
        incomplete="; ".join(missing) or None,
        faults=dict(counts.faults),
        was_stopped=stop is not None and stop.is_set(),
    )
