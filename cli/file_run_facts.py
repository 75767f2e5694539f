"""What the account of a run over a file says beside frames: networks, settings, versions, machine."""

from __future__ import annotations

from typing import Any

from ..runtime.job import Progress, RunSummary
from ..runtime.machine_watch import MachineWatch
from ..runtime.pipeline import Counts
from ..runtime.run_facts import machine_facts, versions
from ..runtime.session import SessionConfig
from ..runtime.sources import SourceInfo
from .live_networks import hash_of_choice, settings_of
from .opening import ModelChoice


class FileFacts:
    """Watches the machine while a file is restored.

    Args:
        choice: The network.
        config: What was asked for of its backend.
        on_progress: Told of the progress, too.
        watch: Reads the machine's sensors.
    """

    def __init__(self, choice: ModelChoice, config: SessionConfig, on_progress: Progress, watch: MachineWatch) -> None:
        self._choice, self._config, self._on_progress, self._watch = choice, config, on_progress, watch
        self._has_begun = False

    def look(self, counts: Counts, info: SourceInfo) -> None:
        """Read what is due of the sensors and tell the progress; the first time the network is open."""
        if not self._has_begun:
            self._has_begun = True
            self._watch.begin()
        self._watch.sample()
        self._on_progress(counts, info)

    def to_dict(self, summary: RunSummary) -> dict[str, Any]:
        """The whole account, of a run that is over."""
        self._watch.finish()
        model = {"model": summary.model, "backend": summary.backend, "sha256": hash_of_choice(self._choice)}
        return {
            **summary.to_dict(),
            **self._watch.to_dict(summary.went_out),
            "models": [model],
            "settings": settings_of(self._config),
            "machine": machine_facts(self._watch.gpus),
            "versions": versions(),
        }


def watched_machine(idle_s: float) -> MachineWatch:
    """Find the machine's sensors, and measure it at rest for ``idle_s`` seconds where there is one of energy."""
    watch = MachineWatch()
    if idle_s and watch.energy.has_rails:
        watch.measure_idle(idle_s)
    return watch
