from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from deblurrt.runtime.device_holder import holders_of


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


def test_this_process_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "video0").touch()
    with (tmp_path / "video0").open():
        assert f"process {os.getpid()}" not in holders_of(str(tmp_path / "video0"))


def test_device_that_is_gone_is_held_by_nobody(tmp_path: Path) -> None:
    assert holders_of(str(tmp_path / "video9")) == ""
