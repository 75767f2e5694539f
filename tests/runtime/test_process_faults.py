"""What happens to the process of a run, its pipes, its files and its camera, all of it for real."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runtime.clips import noise_frames
from tests.servers.run_process import PATIENCE_S, RunProcess, lines_of, times_in
from tests.servers.server_process import ServerProcess

full = pytest.mark.full

FPS = 50
CAMERA = f"synthetic://?size=48x64&fps={FPS}"
#: a key frame every two seconds
GOP_FRAMES = 2 * FPS

KILLS = 20
#: so many runs at a time
AT_ONCE = 5
#: when a run is killed, counted from its first line in the ledger
KILLED_WITHIN_S = 5.0


@full
@pytest.mark.fault("K4", "SIGKILL at 20 random times while recording", "`.part` plays, at most 2 s (a GOP) lost")
def test_killed_run_leaves_what_it_recorded(tmp_path: Path, fault_result: Callable[[str], None]) -> None:
    rng = random.Random(0)
    losses: list[int] = []
    sizes: list[int] = []
    for turn in range(KILLS // AT_ONCE):
        folders = [tmp_path / f"{turn}-{place}" for place in range(AT_ONCE)]
        for folder, loss, recorded in killed_runs(folders, rng):
            assert loss <= GOP_FRAMES, f"{folder.name}: {loss} of {recorded} frames are lost"
            losses.append(loss)
            sizes.append(recorded)
    assert len(losses) == KILLS
    assert max(sizes) > 2 * GOP_FRAMES, "no run was long enough to lose anything"
    fault_result(f"{sum(sizes)} frames recorded in {KILLS} runs, {sum(losses)} lost, {max(losses)} at most in one")


def killed_runs(folders: list[Path], rng: random.Random) -> Iterator[tuple[Path, int, int]]:
    """Run in every folder at once and kill each at a time of its own; the frames lost, the frames recorded."""
    runs: list[RunProcess] = []
    places = [folder / f"out{'.mp4' if place % 2 else '.mkv'}" for place, folder in enumerate(folders)]
    try:
        for place in places:
            place.parent.mkdir()
            ledger = place.parent / "frames.jsonl"
            runs.append(RunProcess((CAMERA, place, "--ledger", ledger, "--deadline-ms", 1000)))
        for place, run in zip(places, runs, strict=True):
            run.wait_for_lines(place.parent / "frames.jsonl", 1)
        times_s = sorted((time.monotonic() + rng.uniform(0, KILLED_WITHIN_S), index) for index in range(len(runs)))
        for time_s, index in times_s:
            time.sleep(max(0.0, time_s - time.monotonic()))
            runs[index].process.kill()
            runs[index].process.wait()
    finally:
        for run in runs:
            run.__exit__(None, None, None)
    for place in places:
        yield place.parent, *loss_of(place)


def loss_of(place: Path) -> tuple[int, int]:
    """Frames a killed run recorded and that do not play, and frames it recorded."""
    lines = lines_of(place.parent / "frames.jsonl")
    recorded = sum(line["emit_ms"].get(str(place)) is not None for line in lines)
    part = place.with_name(f"{place.name}.part")
    assert not place.exists()
    assert part.exists()
    times = times_in(part) if recorded > GOP_FRAMES else []
    assert times == sorted(times)
    return max(0, recorded - len(times)), recorded


@full
@pytest.mark.fault("K4", "SIGKILL, then run again", "`.part` is kept, exit 7; `--force` replaces it")
def test_recording_of_a_killed_run_is_not_overwritten(tmp_path: Path) -> None:
    place, ledger = tmp_path / "out.mkv", tmp_path / "frames.jsonl"
    with RunProcess((CAMERA, place, "--ledger", ledger)) as run:
        run.wait_for_lines(ledger, 20)
    part = (tmp_path / "out.mkv.part").read_bytes()
    with RunProcess((CAMERA, place)) as again:
        assert again.process.wait(PATIENCE_S) == 7
        assert "left of an interrupted run" in again.said()
    assert (tmp_path / "out.mkv.part").read_bytes() == part
    ledger.unlink()
    with RunProcess((CAMERA, place, "--ledger", ledger, "--force")) as forced:
        forced.wait_for_lines(ledger, 20)
        assert forced.stop() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames.jsonl", "out.mkv"]
    assert len(times_in(place)) >= 20


CLIP = noise_frames(5, (48, 64))


@pytest.mark.fault("K5", "names of files that are no UTF-8", "read and written, in the ledger and the summary too")
def test_names_that_are_no_text_are_read_and_written(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    source, place, summary = folder + b"/in\xff\xfe.rgb", folder + b"/out\xe9.mkv", tmp_path / "summary.json"
    Path(os.fsdecode(source)).write_bytes(b"".join(picture.tobytes() for picture in CLIP))
    video = folder + b"/in\xff\xfe.mkv"
    with Path(os.fsdecode(source)).open("rb") as raw, RunProcess(("-", video, "--raw", "48x64@10"), stdin=raw) as run:
        assert run.process.wait(PATIENCE_S) == 0, run.said()
    with RunProcess((video, place, "--deadline-ms", 2000, "--json", summary, "--ledger", tmp_path / "f.jsonl")) as run:
        assert run.process.wait(PATIENCE_S) == 0, run.said()
        assert "Traceback" not in run.said()
    assert len(times_in(Path(os.fsdecode(place)))) == len(CLIP)
    assert json.loads(summary.read_text())["captured"] == len(lines_of(tmp_path / "f.jsonl")) == len(CLIP)


#: a superuser may write everywhere: it gives its privileges up first (capset of Linux, nothing allowed)
WITHOUT_PRIVILEGES = """
import ctypes
header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(header, nothing) == 0
"""


@pytest.mark.fault("K6", "read-only folder, existing output", "one line, exit 7, nothing touched")
@pytest.mark.parametrize(
    ("name", "told"),
    [("closed/out.mkv", "cannot be written"), ("taken.mkv", "exists already")],
    ids=["folder", "output"],
)
def test_output_that_cannot_be_written_is_one_line(name: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "taken.mkv").write_text("mine")
    (tmp_path / "closed").mkdir(mode=0o555)
    with RunProcess((CAMERA, tmp_path / name, "--deadline-ms", 1000), WITHOUT_PRIVILEGES) as run:
        assert run.process.wait(PATIENCE_S) == 7, run.said()
        said = run.said()
    assert told in said
    assert "Traceback" not in said
    assert (tmp_path / "taken.mkv").read_text() == "mine"
    assert list((tmp_path / "closed").iterdir()) == []


@full
@pytest.mark.fault(
    "S1", "the whole run: RTSP server killed, back with another size", "new epoch, `out-2`, ledger balances, exit 0"
)
def test_run_outlives_its_camera(tmp_path: Path, fault_result: Callable[[str], None]) -> None:
    place, ledger, summary = tmp_path / "out.mkv", tmp_path / "frames.jsonl", tmp_path / "summary.json"
    with ServerProcess("rtsp", "--size", "96x320") as server:
        port = server.port
        places = (f"rtsp://127.0.0.1:{port}/live", place, "--ledger", ledger, "--json", summary, "--deadline-ms", 2000)
        with RunProcess(places) as run:
            run.wait_for_lines(ledger, 30)
            server.kill()
            with ServerProcess("rtsp", "--size", "64x256", port=port) as again:
                run.wait_for_lines(ledger, len(lines_of(ledger)) + 40)
                again.tell("size 48x256")
                run.wait_for_lines(ledger, len(lines_of(ledger)) + 60)
                assert run.stop(signal.SIGINT) == 0, run.said()
    result, lines = json.loads(summary.read_text()), lines_of(ledger)
    assert result["imbalances"] == []
    assert result["captured"] == sum(result["states"].values()) == len(lines)
    assert result["epochs"] == 3 == len({line["epoch"] for line in lines})
    keys = [(line["epoch"], line["seq"]) for line in lines if not line["state"].startswith("DROPPED")]
    assert keys == sorted(set(keys))
    recorded = [len(times_in(tmp_path / name)) for name in ("out.mkv", "out-2.mkv", "out-3.mkv")]
    assert sum(recorded) == result["sinks"][str(place)]["emitted"]
    fault_result(f"{len(lines)} frames in 3 epochs, {' + '.join(map(str, recorded))} in 3 files")
