"""From cameras to outputs: a whole live run in one call, and the account of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ..core.errors import UsageError
from .any_network import Network, OpenNetworks
from .isolated_network import isolated
from .ledger_file import LedgerFile
from .live_runner import LiveConfig, LiveRunner
from .live_source import LiveSource
from .live_summary import LiveSummary, OnStatus
from .machine_watch import MachineWatch
from .outbox import ResultSink
from .pipeline import clean_up
from .recorder import Recorder, RecorderConfig
from .result_sinks import ResultSinkOptions, open_result_sinks, scheme_of


@dataclass(frozen=True, slots=True)
class LiveJobConfig:
    """How a live run is done.

    Attributes:
        live: Deadline and policy.
        ledger: File that gets a line for every frame; None for none.
        side_by_side: Whether recordings show the untouched frame on the left.
        force: Whether existing outputs are replaced.
        copy_from: Video whose sound goes with recordings; None where frames come from no file.
        isolate: Whether the networks run in a process of their own, which is killed where they hang.
        watch: Reads the machine's sensors; energy is also known without that of the machine at rest where it
            measured that before. None makes one.
        model_hashes: SHA-256 of the networks' files, largest network first, for the account.
        settings: What else was asked for, for the account.
    """

    live: LiveConfig = field(default_factory=LiveConfig)
    ledger: Path | None = None
    side_by_side: bool = False
    force: bool = False
    copy_from: Path | None = None
    isolate: bool = False
    watch: MachineWatch | None = None
    model_hashes: Sequence[str | None] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def run_live(
    sources: Sequence[LiveSource],
    open_sessions: OpenNetworks,
    sinks: Sequence[str | ResultSink],
    config: LiveJobConfig | None = None,
    on_status: OnStatus | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Run cameras through a network until they end or ``stop`` is set.

    Args:
        sources: The cameras; closed at the end.
        open_sessions: Opens the networks, largest first; again where one hangs. Where they are isolated, a
            function of a module, or ``functools.partial`` of one: it is called in another process.
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
    open_networks = isolated(open_sessions) if config.isolate else open_sessions
    stop = stop or threading.Event()
    began_ns = time.monotonic_ns()
    with ExitStack() as stack:
        for source in sources:
            stack.callback(source.close)
        for sink in sinks:
            if not isinstance(sink, str):
                stack.callback(sink.close)
        names = [sink if isinstance(sink, str) else sink.name for sink in sinks]
        if len(set(names)) < len(names):
            raise UsageError("an output is named twice; give every output a name of its own")
        sessions = open_networks()
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
            runner = LiveRunner(sources, sessions, per_camera, config.live, open_networks, write_line)
        except BaseException:
            for session in sessions:
                clean_up(session.close)
            raise
        account = LiveSummary(runner, _facts(sessions, config), config.watch, began_ns)
        runner.run(partial(account.look, on_status), stop)
        summary = account.finished()
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


def _facts(networks: Sequence[Network], config: LiveJobConfig) -> dict[str, Any]:
    """What stays during a run."""
    live = config.live
    return {
        "backend": networks[0].description,
        "isolated": config.isolate,
        "models": [
            {"model": network.model, "backend": network.description, "sha256": sha256}
            for network, sha256 in zip_longest(networks, config.model_hashes[: len(networks)])
        ],
        "settings": {
            "deadline_ms": live.deadline_ms,
            "late": live.late,
            "pace": live.pace,
            "gate": live.has_gate,
            "batches": live.has_batches,
            "side_by_side": config.side_by_side,
            **config.settings,
        },
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


def _incomplete(runner: LiveRunner, lines: LedgerFile | None) -> str | None:
    """Say what is missing; what a sink was too slow for is counted and no fault."""
    found = [camera.error for camera in runner.cameras if camera.error]
    found += [f"{name} was given up: {counts.error}" for name, counts in runner.sinks.items() if counts.error]
    found += [str(lines.error)] if lines is not None and lines.error is not None else []
    return "; ".join([*found, *runner.imbalances]) or None
