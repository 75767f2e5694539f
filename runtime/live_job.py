"""From cameras to outputs: a whole live run in one call, and the account of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..core.errors import UsageError
from .latency import LatencyRecorder
from .ledger_file import LedgerFile
from .live_camera import Camera
from .live_runner import LiveConfig, LiveRunner
from .live_source import LiveSource
from .live_worker import OpenSessions
from .outbox import ResultSink
from .pipeline import clean_up
from .recorder import Recorder, RecorderConfig
from .result_sinks import ResultSinkOptions, open_result_sinks, scheme_of
from .terminal import Terminal

#: what one status looks like: the same values as the summary's, at this moment
OnStatus = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class LiveJobConfig:
    """How a live run is done.

    Attributes:
        live: Deadline and policy.
        ledger: File that gets a line for every frame; None for none.
        side_by_side: Whether recordings show the untouched frame on the left.
        force: Whether existing outputs are replaced.
        copy_from: Video whose sound goes with recordings; None where frames come from no file.
    """

    live: LiveConfig = field(default_factory=LiveConfig)
    ledger: Path | None = None
    side_by_side: bool = False
    force: bool = False
    copy_from: Path | None = None


def run_live(
    sources: Sequence[LiveSource],
    open_sessions: OpenSessions,
    sinks: Sequence[str | ResultSink],
    config: LiveJobConfig | None = None,
    on_status: OnStatus | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Run cameras through a network until they end or ``stop`` is set.

    Args:
        sources: The cameras; closed at the end.
        open_sessions: Opens the networks, largest first; again where one hangs.
        sinks: Places of recordings, one file per camera: ``out.mkv``, ``out-camera2.mkv``; places that are
            no files (``RESULT_SINKS``); or sinks that get the results of all cameras. Closed at the end.
        config: Deadline, policy, ledger.
        on_status: Called about ten times a second with the account so far.
        stop: Ends the run in order.

    Returns:
        The account, plain values (``run --json``): ``incomplete`` says why something is missing, None where
        nothing is.

    Raises:
        UsageError: An output is of no known kind, or named twice.
        OutputError: An output exists already, or its folder does not.
        ModelFileError: There is no such network, or it does not fit.
        MachineError: No backend can run it here.
    """
    config = config or LiveJobConfig()
    stop = stop or threading.Event()
    with ExitStack() as stack:
        for source in sources:
            stack.callback(source.close)
        for sink in sinks:
            if not isinstance(sink, str):
                stack.callback(sink.close)
        named = [sink for sink in sinks if isinstance(sink, str)]
        if len(set(named)) < len(named):
            raise UsageError("an output is named twice; give every output a name of its own")
        sessions = open_sessions()
        try:
            scale = sessions[0].contract.scale
            options = ResultSinkOptions(scale, _rate_of(sources[0]), stop.set)
            places = _places_of_cameras(sinks, sources, options, stack)
            per_camera = [
                _sinks_of(index, source, places[index], scale, config) for index, source in enumerate(sources)
            ]
            lines = None if config.ledger is None else LedgerFile(config.ledger, force=config.force)
            if lines is not None:
                stack.callback(lines.close)
            write_line = None if lines is None else lines.write
            runner = LiveRunner(sources, sessions, per_camera, config.live, open_sessions, write_line)
        except BaseException:
            for session in sessions:
                clean_up(session.close)
            raise
        backend = sessions[0].backend.description
        started_s = time.perf_counter()

        def status() -> dict[str, Any]:
            return summary_of(runner, backend, time.perf_counter() - started_s)

        runner.run(None if on_status is None else lambda: on_status(status()), stop)
        summary = status()
        if lines is not None:
            lines.close()
        summary["incomplete"] = _incomplete(runner, lines)
        summary["stopped"] = stop.is_set()
        return summary


def place_of_camera(place: str, index: int) -> str:
    """Name the recording of camera ``index``, counted from 0: ``out.mkv``, ``out-camera2.mkv``."""
    if index == 0:
        return place
    path = Path(place)
    end = "/" if place.endswith("/") else ""
    return str(path.with_name(f"{path.stem}-camera{index + 1}{path.suffix}")) + end


def summary_of(runner: LiveRunner, backend: str, elapsed_s: float) -> dict[str, Any]:
    """The account of a run so far, as plain values."""
    ledgers = runner.ledgers
    states: Counter[Terminal] = Counter()
    for ledger in ledgers:
        states.update(dict(ledger.states))  # a copy first: frames go on ending meanwhile
    captured = sum(ledger.captured for ledger in ledgers)
    wanted = captured - states[Terminal.PASS_SHARP]
    deblurred = states[Terminal.DEBLURRED]
    latency = LatencyRecorder()
    for ledger in ledgers:
        latency.absorb(ledger.latency)
    sinks = runner.sinks
    return {
        "captured": captured,
        "emitted": {name: counts.emitted for name, counts in sinks.items()},
        "states": {state.value: states[state] for state in Terminal if states[state]},
        "epochs": sum(ledger.epochs for ledger in ledgers),
        "fps": round(deblurred / elapsed_s, 2) if elapsed_s > 0 else 0.0,
        "latency_ms": latency.report("total").to_dict(),
        "stages_ms": {stage: latency.report(stage).to_dict() for stage in latency.stages if stage != "total"},
        "deadline_miss_rate": _share(sum(ledger.missed for ledger in ledgers), captured),
        "deblur_coverage": _share(deblurred, captured),
        "effective_coverage": _share(deblurred, wanted),
        "elapsed_s": round(elapsed_s, 3),
        "source": ", ".join(ledger.stream for ledger in ledgers),
        "model": runner.flow.admission.model,
        "backend": backend,
        "streams": [_stream_values(camera) for camera in runner.cameras],
        "sinks": {
            name: {"emitted": counts.emitted, "skipped": counts.skipped, "error": counts.error or None}
            for name, counts in sinks.items()
        },
        "network_restarts": 0 if runner.worker is None else runner.worker.abandoned,
        "locked_out": runner.flow.admission.lockout_reason,
        "imbalances": list(runner.imbalances),
    }


def _stream_values(camera: Camera) -> dict[str, Any]:
    lane, ledger = camera.lane, camera.lane.ledger
    return {
        "stream": ledger.stream,
        "health": camera.health,
        "reason": camera.error or camera.reason,
        "fps": camera.source.fps,
        "captured": ledger.captured,
        "states": {state.value: count for state, count in dict(ledger.states).items()},
        "epochs": ledger.epochs,
        "reconnects": ledger.events["reconnecting"],
        "events": dict(ledger.events),
        "lost_before": ledger.lost_before,
        "missed": ledger.missed,
        "deadline_ms": None if lane.deadline_ns is None else round(lane.deadline_ns / 1e6, 3),
        "latency_ms": ledger.latency.report("total").to_dict(),
    }


def _sinks_of(
    index: int, source: LiveSource, sinks: Sequence[str | ResultSink], scale: int, config: LiveJobConfig
) -> list[ResultSink]:
    recording = RecorderConfig(scale, config.side_by_side, config.force, source.fps, config.copy_from)
    return [
        Recorder(Path(place_of_camera(sink, index)), recording) if isinstance(sink, str) else sink for sink in sinks
    ]


def _rate_of(source: LiveSource) -> Fraction | None:
    return None if source.fps is None else Fraction(source.fps).limit_denominator(1001)


def _places_of_cameras(
    sinks: Sequence[str | ResultSink], sources: Sequence[LiveSource], options: ResultSinkOptions, stack: ExitStack
) -> list[list[str | ResultSink]]:
    """Give the sinks of each camera, with the places that are no files opened."""
    per_camera: list[list[str | ResultSink]] = [[] for _ in sources]
    for sink in sinks:
        opened: Sequence[str | ResultSink] = [sink] * len(sources)
        if isinstance(sink, str) and scheme_of(sink) is not None:
            results = open_result_sinks(sink, len(sources), options)
            for result_sink in results:
                stack.callback(result_sink.close)
            opened = results
        for places, place in zip(per_camera, opened, strict=True):
            places.append(place)
    return per_camera


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _incomplete(runner: LiveRunner, lines: LedgerFile | None) -> str | None:
    """Say what is missing; what a sink was too slow for is counted and no fault."""
    found = [camera.error for camera in runner.cameras if camera.error]
    found += [f"{name} was given up: {counts.error}" for name, counts in runner.sinks.items() if counts.error]
    found += [str(lines.error)] if lines is not None and lines.error is not None else []
    return "; ".join([*found, *runner.imbalances]) or None
