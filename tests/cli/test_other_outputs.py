"""``deblurrt run`` into outputs that are no files, as the next program of a pipe meets it."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import av
import pytest

from deblurrt.core.errors import OutputError, UsageError
from deblurrt.runtime.result_sinks import ResultSinkOptions, open_result_sinks
from deblurrt.runtime.shm_ring import FOLDER, ShmRing, path_of

from .conftest import FRAMES, SIZE, Deblurrt

RUN = ("run", "--backend", "onnxruntime", "--threads", "1", "--model", "identity")
COMMAND = (sys.executable, "-c", "from deblurrt.cli.main import main; main()", *RUN)

#: not to hang for ever where something is wrong
PATIENCE_S = 60.0


def test_y4m_on_standard_output_holds_every_frame(clip: Path, tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, clip, "-"], capture_output=True, check=True, timeout=PATIENCE_S)
    (tmp_path / "out.y4m").write_bytes(done.stdout)
    with av.open(tmp_path / "out.y4m") as container:
        assert container.streams.video[0].average_rate == 25
        assert [(frame.height, frame.width) for frame in container.decode(video=0)] == [SIZE] * FRAMES


def test_pipe_and_file_get_the_same_frames(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    done = subprocess.run([*COMMAND, clip, "raw:-", out], capture_output=True, check=True, timeout=PATIENCE_S)
    assert len(done.stdout) == FRAMES * SIZE[0] * SIZE[1] * 3
    with av.open(out) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES


def test_standard_input_goes_to_standard_output(clip: Path) -> None:
    video = subprocess.run([*COMMAND, clip, "-"], capture_output=True, check=True, timeout=PATIENCE_S).stdout
    again = subprocess.run([*COMMAND, "-", "-"], input=video, capture_output=True, check=True, timeout=PATIENCE_S)
    assert again.stdout.split(b"\n", 1)[0] == video.split(b"\n", 1)[0]
    assert len(again.stdout) == len(video)


@pytest.mark.fault("K5", "reader of standard output closes it", "ends in order, exit 0, no traceback")
@pytest.mark.parametrize("source", ["clip", "synthetic://?size=48x64&fps=30"])
def test_reader_that_has_enough_ends_the_run_with_0(clip: Path, source: str) -> None:
    place = str(clip) if source == "clip" else source
    with subprocess.Popen([*COMMAND, place, "raw:-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        run.stdout.read(SIZE[0] * SIZE[1] * 3)
        run.stdout.close()
        assert run.stderr is not None
        said = run.stderr.read().decode()
        assert run.wait(PATIENCE_S) == 0
    assert "Traceback" not in said
    assert "error" not in said


@pytest.mark.parametrize("outputs", [("-", "--json", "-"), ("-", "raw:-"), ("raw:-", "y4m:-")])
def test_standard_output_is_given_once(
    deblurrt: Deblurrt, clip: Path, outputs: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert deblurrt(*RUN, clip, *outputs) == UsageError.exit_code
    assert "both go to standard output" in capsys.readouterr().err


@pytest.mark.skipif(not FOLDER.is_dir(), reason="there is no /dev/shm")
def test_each_camera_has_a_ring_and_shares_the_rest() -> None:
    name = f"test-{uuid.uuid4().hex}"
    rings = open_result_sinks(f"shm://{name}", 2, ResultSinkOptions())
    assert [ring.name for ring in rings] == [f"shm://{name}", f"shm://{name}-camera2"]
    assert all(isinstance(ring, ShmRing) for ring in rings)
    shared = open_result_sinks("zmq+tcp://127.0.0.1:*", 2, ResultSinkOptions())
    assert shared[0] is shared[1]
    shared[0].close()
    assert not path_of(name).exists()


def test_one_pipe_cannot_hold_two_cameras() -> None:
    with pytest.raises(UsageError, match="holds one camera's video, not 2"):
        open_result_sinks("-", 2, ResultSinkOptions())


@pytest.mark.fault("K5", "reader of `--json -` closes it", "exit 0, no traceback")
def test_reader_that_wants_no_account_is_no_error(clip: Path, tmp_path: Path) -> None:
    command = [*COMMAND, str(clip), str(tmp_path / "out.mkv"), "--json", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None
        run.stdout.close()
        assert run.stderr is not None
        said = run.stderr.read().decode()
        assert run.wait(PATIENCE_S) == 0
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


@pytest.mark.fault("K5", "standard output is closed from the start", "one line, exit 7")
def test_standard_output_that_is_closed_is_told(clip: Path) -> None:
    script = 'exec "$@" >&-'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *COMMAND, clip, "raw:-"],
        stderr=subprocess.PIPE,
        check=False,
        timeout=PATIENCE_S,
        text=True,
    )
    assert done.returncode == OutputError.exit_code
    assert "standard output is closed" in done.stderr
    assert "Traceback" not in done.stderr
