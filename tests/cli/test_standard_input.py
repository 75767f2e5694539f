from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from tests.cli.conftest import Deblurrt
from tests.runtime.clips import noise_frames

COMMAND = [sys.executable, "-c", "from deblurrt.cli.main import main; main()", "run", "-"]
PICTURES = noise_frames(5, (48, 64))
RAW = b"".join(picture.tobytes() for picture in PICTURES)


def run(*arguments: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *arguments], input=data, capture_output=True, check=False, timeout=120)


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_plain_rgb_of_a_pipe_is_deblurred(tmp_path: Path) -> None:
    done = run(str(tmp_path / "out.mkv"), "--raw", "48x64@10", "--model", "fast", data=RAW)
    assert done.returncode == 0, done.stderr
    assert frames_in(tmp_path / "out.mkv") == 5


@pytest.mark.fault("K5", "standard input ends within a frame", "whole frames kept, exit 8, one line")
def test_pipe_that_ends_within_a_frame_keeps_the_whole_ones(tmp_path: Path) -> None:
    done = run(str(tmp_path / "out.mkv"), "--raw", "48x64@10", "--model", "fast", data=RAW[:-100])
    assert done.returncode == 8
    assert b"ended within frame 4" in done.stderr
    assert b"Traceback" not in done.stderr
    assert frames_in(tmp_path / "out.mkv") == 4


def test_pipe_with_a_deadline_is_played(tmp_path: Path) -> None:
    place = str(tmp_path / "out.mkv")
    done = run(place, "--raw", "48x64@10", "--model", "fast", "--deadline-ms", "5000", data=RAW)
    assert done.returncode == 0, done.stderr


def test_interrupt_ends_a_run_that_waits_for_its_pipe(tmp_path: Path) -> None:
    arguments = [*COMMAND, str(tmp_path / "out.mkv"), "--raw", "48x64@10", "--model", "fast"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(RAW)
        process.stdin.flush()
        until_s = time.monotonic() + 120
        while not (tmp_path / "out.mkv.part").exists() and time.monotonic() < until_s:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert (tmp_path / "out.mkv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["a.mp4", "--raw", "48x64@10"], "goes with standard input"), (["-", "--raw", "big"], "is no raw format")],
)
def test_raw_formats_that_do_not_fit_are_refused(
    deblurrt: Deblurrt, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt("run", *arguments, "out.mkv") == 2
    assert message in capsys.readouterr().err
