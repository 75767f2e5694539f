from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from deblurrt.core.errors import OutputError
from deblurrt.core.pictures import read_picture
from deblurrt.runtime import recorder as recorder_module
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.recorder import Recorder, RecorderConfig
from deblurrt.runtime.terminal import Result, Terminal

MS = 1_000_000


def result(seq: int, size: tuple[int, int] = (32, 48), state: Terminal = Terminal.DEBLURRED, scale: int = 1) -> Result:
    frame = Frame(np.full((*size, 3), 90, np.uint8), seq, seq * 100 * MS)
    is_restored = state is Terminal.DEBLURRED
    restored = np.full((size[0] * scale, size[1] * scale, 3), 200, np.uint8) if is_restored else frame.pixels
    return Result(frame, restored, state)


def shapes_and_times(path: Path) -> list[tuple[int, int, float]]:
    with av.open(str(path)) as container:
        return [(frame.height, frame.width, round(float(frame.time or 0), 3)) for frame in container.decode(video=0)]


def record(path: Path, results: list[Result], config: RecorderConfig | None = None) -> None:
    recorder = Recorder(path, config)
    for one in results:
        recorder.write(one)
    recorder.close()


def test_frames_without_time_are_shown_when_they_were_captured(tmp_path: Path) -> None:
    record(tmp_path / "out.mkv", [result(seq) for seq in (0, 1, 5)])
    assert shapes_and_times(tmp_path / "out.mkv") == [(32, 48, 0.0), (32, 48, 0.1), (32, 48, 0.5)]


def test_change_of_size_begins_another_file(tmp_path: Path) -> None:
    results = [result(0), result(1), result(2, (16, 16)), result(3, (16, 16))]
    record(tmp_path / "out.mp4", results)
    assert [shape[:2] for shape in shapes_and_times(tmp_path / "out.mp4")] == [(32, 48)] * 2
    assert [shape[:2] for shape in shapes_and_times(tmp_path / "out-2.mp4")] == [(16, 16)] * 2


def test_untouched_frames_have_the_size_of_restored_ones(tmp_path: Path) -> None:
    results = [result(0, scale=2), result(1, state=Terminal.PASS_DEADLINE), result(2, scale=2)]
    record(tmp_path / "out.mkv", results, RecorderConfig(scale=2))
    assert [shape[:2] for shape in shapes_and_times(tmp_path / "out.mkv")] == [(64, 96)] * 3


def test_untouched_frame_is_on_the_left(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    record(tmp_path / "out", [result(0)], RecorderConfig(side_by_side=True))
    (written,) = (tmp_path / "out").iterdir()
    picture = read_picture(written)
    assert picture.shape == (32, 96, 3)
    assert (picture[0, 0, 0], picture[0, -1, 0]) == (90, 200)


def test_recording_stops_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path / "out.mkv")
    recorder.write(result(0))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage._replace(free=1))
    monkeypatch.setattr(recorder_module, "LOOK_EVERY", 1)
    with pytest.raises(OutputError, match="MiB are free"):
        recorder.write(result(1))
    recorder.give_up()


def test_what_was_recorded_before_a_failure_stays_and_plays(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "out.mkv")
    for seq in range(10):
        recorder.write(result(seq))
    recorder.give_up()
    assert not (tmp_path / "out.mkv").exists()
    assert len(shapes_and_times(tmp_path / "out.mkv.part")) == 10


def test_existing_recording_is_kept_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "out.mkv").write_text("mine")
    with pytest.raises(OutputError, match="force"):
        Recorder(tmp_path / "out.mkv")
    record(tmp_path / "out.mkv", [result(0)], RecorderConfig(force=True))
    assert len(shapes_and_times(tmp_path / "out.mkv")) == 1
