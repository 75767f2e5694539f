"""One camera of a live run and what is known of it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from .blur_gate import BlurGate
from .frame import Frame
from .live_lane import USUAL_PERIOD_NS, Lane
from .live_source import LiveSource, SourceEvent
from .source_health import is_believable

logger = logging.getLogger(__name__)

#: a period as observed that differs by less from the one in use is the same
RATE_CHANGE = 0.2


@dataclass(slots=True, eq=False)
class Camera:
    """One source and what is known of it.

    Attributes:
        source: Where frames come from.
        lane: Its frames inside the flow.
        health: Last event, for people.
        reason: What it was about; empty while frames come.
        error: Why it ended; empty where it did not, or ended as it should.
        has_ended: Whether nothing more will come.
        gate: Judges its frames; None without a gate.
        epoch: Of the last frame.
    """

    source: LiveSource
    lane: Lane
    health: str = "connecting"
    reason: str = ""
    error: str = ""
    has_ended: bool = False
    gate: BlurGate | None = None
    epoch: int | None = None

    def note(self, event: SourceEvent) -> None:
        """Take notice of an event, in the log too."""
        ledger = self.lane.ledger
        ledger.events[event.kind] += 1
        if event.kind in ("gap", "corrupt"):
            ledger.lost_before += event.count
            return
        self.health, self.reason = event.kind, event.reason.removeprefix(f"{self.source.name}: ")
        if event.kind == "moving":
            self.health, self.reason = "streaming", ""
        is_end = event.kind == "lost" and not self.source.is_live
        level = logging.INFO if is_end or event.kind in ("opened", "epoch", "moving") else logging.WARNING
        logger.log(level, "%s", event.reason)
        self.has_ended = is_end or event.kind == "failed"
        if self.has_ended:
            ledger.source.finish(time.monotonic_ns())
        elif event.kind == "lost":
            ledger.source.saw_loss(time.monotonic_ns())
        if event.kind == "failed":
            self.error = event.reason

    def saw(self, frame: Frame, deadline_ms: float | None) -> None:
        """Take notice of a frame: the first of a connection or format, or of a rate that is known only now."""
        if frame.epoch != self.epoch:
            self.epoch, self.health, self.reason = frame.epoch, "streaming", ""
            self.set_deadline(deadline_ms)
        fps = self.source.fps
        if is_believable(fps) and abs(1e9 / fps - self.lane.period_ns) > RATE_CHANGE * self.lane.period_ns:
            self.set_deadline(deadline_ms)

    def set_deadline(self, deadline_ms: float | None) -> None:
        """Set how soon frames must be out; None stands for the source's frame period."""
        fps = self.source.fps
        self.lane.period_ns = round(1e9 / fps) if fps else USUAL_PERIOD_NS
        self.lane.ledger.source.period_ns = self.lane.period_ns
        self.lane.deadline_ns = self.lane.period_ns if deadline_ms is None else round(deadline_ms * 1e6)
