"""A network over a file: sharp frames are spared it, and what it gives is looked at before it goes out."""

from __future__ import annotations

import time

from ..datasets.resizing import enlarge_bicubic
from .blur_gate import BlurGate
from .frame import Frame, Pixels
from .guard import Guard, UnfitPictureError, checked_session
from .latency import LatencyRecorder
from .session import Session
from .terminal import Terminal


class JudgedNetwork:
    """Restores frames, each when its turn has come; untouched ones are enlarged as much as restored ones.

    Args:
        session: The network; left open.
        gate: Judges frames; sharp ones are left as they are. None restores all.
        guard: Judges what the network gives; None takes all for right.
        latency: Gets the time the network took.
    """

    def __init__(self, session: Session, gate: BlurGate | None, guard: Guard | None, latency: LatencyRecorder) -> None:
        self._session = session if guard is None else checked_session(session)
        self._gate, self._guard, self._latency = gate, guard, latency

    def restore(self, previous: Pixels | None, frame: Frame, following: Pixels | None) -> tuple[Pixels, Terminal, str]:
        """Give what goes out for a frame, how it ended, and why where that is not for the network's picture."""
        if self._gate is not None and self._gate.judge(frame.pixels):
            return self._untouched(frame), Terminal.PASS_SHARP, self._gate.reason
        started = time.perf_counter()
        try:
            restored = self._session.restore(frame.pixels, previous, following)
        except UnfitPictureError as error:
            return self._untouched(frame), Terminal.PASS_FAULT, str(error)
        self._latency.add("network", time.perf_counter() - started)
        fault = "" if self._guard is None else self._guard.fault(frame.pixels, restored)
        if fault:
            return self._untouched(frame), Terminal.PASS_FAULT, fault
        return restored, Terminal.DEBLURRED, ""

    def _untouched(self, frame: Frame) -> Pixels:
        return enlarge_bicubic(frame.pixels, self._session.contract.scale)
