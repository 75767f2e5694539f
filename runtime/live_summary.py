"""The account of a live run as plain values: what ``run --json`` writes, and the status while it goes on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from .latency import LatencyRecorder
from .live_camera import Camera
from .live_runner import LiveRunner
from .live_source import LiveSource, Scheduled
from .machine_watch import MachineWatch
from .run_facts import machine_facts, scheduling_facts, versions
from .terminal import Terminal

#: cameras whose driver stamps frames with the clock that everything else is measured by
_STAMPED = "v4l2://"


#: what one status looks like: the same values as the summary's, at this moment
OnStatus = Callable[[dict[str, Any]], None]


class LiveSummary:
    """Writes the account of a run; every key is listed in docs/live.md.

    Args:
        runner: The run.
        facts: What stays: ``backend``, ``isolated``, ``models`` and ``settings``.
        watch: Reads the machine's sensors; None makes one.
        began_ns: When the run began, ``time.monotonic_ns()``; networks are opened after that.
    """

    def __init__(self, runner: LiveRunner, facts: Mapping[str, Any], watch: MachineWatch | None, began_ns: int) -> None:
        self._runner, self._watch = runner, watch or MachineWatch()
        self._facts = {**facts, "machine": machine_facts(self._watch.gpus), "versions": versions()}
        self._watch.begin()
        self._started_s = time.perf_counter()
        for ledger in runner.ledgers:
            ledger.source.began_ns = began_ns

    def look(self, on_status: OnStatus | None) -> None:
        """Read what is due of the sensors and tell the account so far; a few times a second."""
        self._watch.sample()
        if on_status is not None:
            on_status(self.now())

    def finished(self) -> dict[str, Any]:
        """The account of a run that is over."""
        self._watch.finish()
        return self.now()

    def now(self) -> dict[str, Any]:
        """The account so far."""
        runner, ledgers = self._runner, self._runner.ledgers
        elapsed_s = time.perf_counter() - self._started_s
        states: Counter[Terminal] = Counter()
        latency, emitted = LatencyRecorder(), LatencyRecorder()
        late: Counter[str] = Counter()
        for ledger in ledgers:
            states.update(dict(ledger.states))  # a copy first: frames go on ending meanwhile
            latency.absorb(ledger.latency)
            emitted.absorb(ledger.emitted)
            late.update(dict(ledger.emitted_late))
        captured = sum(ledger.captured for ledger in ledgers)
        went_out = sum(count for state, count in states.items() if not state.is_dropped)
        sinks = runner.sinks
        return {
            "captured": captured,
            "emitted": {name: counts.emitted for name, counts in sinks.items()},
            "states": {state.value: states[state] for state in Terminal if states[state]},
            "epochs": sum(ledger.epochs for ledger in ledgers),
            "fps": round(states[Terminal.DEBLURRED] / elapsed_s, 2) if elapsed_s > 0 else 0.0,
            "latency_ms": latency.report("total").to_dict(),
            "stages_ms": {stage: latency.report(stage).to_dict() for stage in latency.stages if stage != "total"},
            **_shares(captured, states, sum(ledger.missed for ledger in ledgers)),
            **self._watch.to_dict(went_out),
            "elapsed_s": round(elapsed_s, 3),
            "source": ", ".join(ledger.stream for ledger in ledgers),
            "model": runner.flow.admission.model,
            **self._facts,
            "scheduling": scheduling_facts(runner.is_real_time),
            "streams": [_stream_values(camera) for camera in runner.cameras],
            "sinks": {
                name: {
                    "emitted": counts.emitted,
                    "skipped": counts.skipped,
                    "late": late[name],
                    "latency_ms": emitted.report(name).to_dict(),
                    "error": counts.error or None,
                }
                for name, counts in sinks.items()
            },
            "batches": _batch_values(runner.flow.batches),
            "network_restarts": 0 if runner.worker is None else runner.worker.restarts,
            "locked_out": runner.flow.admission.lockout_reason,
            "imbalances": list(runner.imbalances),
        }


def _batch_values(runs: Mapping[int, int]) -> dict[str, Any]:
    """Runs that restored frames of several cameras at once, and how many frames a run restored on average."""
    count = sum(runs.values())
    frames = sum(frames * times for frames, times in dict(runs).items())
    return {"runs": count, "together": count - runs.get(1, 0), "mean": round(frames / count, 2) if count else None}


def _stream_values(camera: Camera) -> dict[str, Any]:
    lane, ledger = camera.lane, camera.lane.ledger
    states, captured = Counter(dict(ledger.states)), ledger.captured
    lateness = camera.source.lateness if isinstance(camera.source, Scheduled) else None
    return {
        "stream": ledger.stream,
        "health": camera.health,
        "reason": camera.error or camera.reason,
        "fps": camera.source.fps,
        "t_source": _t_source(camera.source),
        "captured": captured,
        "states": {state.value: count for state, count in states.items()},
        "epochs": ledger.epochs,
        "reconnects": ledger.events["reconnecting"],
        "events": dict(ledger.events),
        "lost_before": ledger.lost_before,
        **ledger.source.to_dict(time.monotonic_ns()),
        "output_jitter_ms": ledger.departures.to_dict(),
        "generator_lateness_ms": None if lateness is None else lateness.report("lateness").to_dict(),
        "missed": ledger.missed,
        **_shares(captured, states, ledger.missed),
        "deadline_ms": None if lane.deadline_ns is None else round(lane.deadline_ns / 1e6, 3),
        "latency_ms": ledger.latency.report("total").to_dict(),
    }


def _shares(captured: int, states: Counter[Terminal], missed: int) -> dict[str, float | None]:
    """The miss rate, and what was restored, without which it says nothing."""
    deblurred = states[Terminal.DEBLURRED]
    return {
        "deadline_miss_rate": _share(missed, captured),
        "deblur_coverage": _share(deblurred, captured),
        "effective_coverage": _share(deblurred, captured - states[Terminal.PASS_SHARP]),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _t_source(source: LiveSource) -> str:
    """Say what ``t_capture_ns`` of a source's frames is."""
    if isinstance(source, Scheduled):
        return "timetable"
    return "driver" if source.name.startswith(_STAMPED) else "arrival"
