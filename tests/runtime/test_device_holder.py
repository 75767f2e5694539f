from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from deblurrt.runtime.capture_channel import CaptureSender, Ended
from deblurrt.runtime.capture_request import CaptureRequest
from deblurrt.runtime.device_holder import holders_of
from deblurrt.runtime.pyav_reader import read_with_pyav


def test_program_that_has_a_device_open_is_named(tmp_path: Path) -> None:
    device, link = tmp_path / "video0", tmp_path / "usb-cam"
    device.touch()
    link.symlink_to(device)
    code = "import sys; held = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(device)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "open\n"
        assert f"(process {program.pid})" in holders_of(str(link))
        program.communicate()
    assert holders_of(str(link)) == ""


def test_camera_in_use_says_by_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_arguments: object, **_settings: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr("av.open", busy)
    monkeypatch.setattr("deblurrt.runtime.pyav_reader.holders_of", lambda device: f"cheese (process 7) at {device}")
    ended = read_with_pyav(CaptureRequest("pyav", str(tmp_path)), cast("CaptureSender", None))
    assert ended == Ended(
        "over", f"it cannot be opened (Device or resource busy: cheese (process 7) at {tmp_path} has it open)"
    )


def test_this_process_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "video0").touch()
    with (tmp_path / "video0").open():
        assert f"process {os.getpid()}" not in holders_of(str(tmp_path / "video0"))


def test_device_that_is_gone_is_held_by_nobody(tmp_path: Path) -> None:
    assert holders_of(str(tmp_path / "video9")) == ""
