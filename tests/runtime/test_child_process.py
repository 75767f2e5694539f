"""Processes of ours: how they end, also where Linux cannot end them."""

from __future__ import annotations

import subprocess

import pytest

from deblurrt.runtime.child_process import ChildProcess


class Undying:
    """A process that hangs inside a driver: no signal reaches it."""

    pid = 4711

    def __init__(self) -> None:
        self.kills = 0

    def wait(self, timeout: float | None = None) -> int:
        assert timeout is not None, "this would wait for ever"
        raise subprocess.TimeoutExpired("undying", timeout)

    def kill(self) -> None:
        self.kills += 1


def test_process_that_cannot_be_ended_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    child, undying = ChildProcess("this"), Undying()
    child._process.wait()
    monkeypatch.setattr(child, "_process", undying)
    child.end()
    child.end()
    assert undying.kills == 2
    assert "process 4711 cannot be ended" in caplog.text
