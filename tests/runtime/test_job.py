from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import IncompleteError, ModelFileError, OutputError, SourceError, UsageError
from deblurrt.core.pictures import read_picture, write_picture
from deblurrt.runtime import RunConfig, RunSummary, SessionConfig, SourceInfo, run
from deblurrt.runtime.backend import BackendConfig
from deblurrt.runtime.frame import Frame
from deblurrt.runtime.pipeline import Counts
from tests.fakes import KeptSink, ListSource, plain_frame, plain_frames
from tests.tiny_graphs import write_identity

#: far more than any step takes; a test that waits this long has failed
PATIENCE_S = 10.0
#: more than pass until a request to stop is noticed
MANY_FRAMES = 100_000

IDENTITY = SessionConfig("identity", "onnxruntime", BackendConfig(threads=1))
CONFIG = RunConfig(IDENTITY)


def random_frames(count: int) -> list[Frame]:
    pictures = np.random.default_rng(0).integers(0, 256, (count, 5, 7, 3), np.uint8)
    return [Frame(pixels, seq, 0) for seq, pixels in enumerate(pictures)]


def test_identity_model_hands_every_frame_to_every_sink_unchanged() -> None:
    frames, sinks = random_frames(12), (KeptSink("first"), KeptSink("second"))
    run(ListSource(frames), sinks, CONFIG)
    for sink in sinks:
        assert sink.end == "closed"
        np.testing.assert_array_equal(sink.pictures, [frame.pixels for frame in frames])


def test_summary_accounts_for_the_run() -> None:
    summary = run(ListSource(plain_frames(12)), [KeptSink("first"), KeptSink("second")], CONFIG)
    assert (summary.source, summary.model) == ("list", "identity")
    assert summary.backend.startswith("ONNX Runtime ")
    assert (summary.captured, summary.epochs) == (12, 1)
    assert summary.emitted == {"first": 12, "second": 12}
    assert summary.states == {"deblurred": 12}
    assert summary.latency_ms["count"] == 24
    assert {stage: latency["count"] for stage, latency in summary.stages_ms.items()} == {
        "decode": 12,
        "network": 12,
        "encode": 24,
    }
    assert (summary.incomplete, summary.was_stopped) == (None, False)
    assert summary.elapsed_s > 0
    assert summary.fps == round(12 / summary.elapsed_s, 2)


def test_summary_becomes_json_with_the_documented_names() -> None:
    values = run(ListSource(plain_frames(2)), [KeptSink()], CONFIG).to_dict()
    assert json.loads(json.dumps(values)) == values
    assert {"captured", "emitted", "states", "epochs", "fps", "latency_ms"} <= values.keys()
    assert {"p50", "p90", "p99", "max"} <= values["latency_ms"].keys()
    assert "psnr_db" not in values


def test_summary_shows_psnr_where_there_is_a_truth() -> None:
    psnr = {"before": 26.0, "after": 28.0}
    summary = RunSummary("s", "m", "b", 0, {}, {}, 0, 0.0, {}, {}, psnr_db=psnr)
    assert summary.to_dict()["psnr_db"] == psnr
    assert summary.fps == 0.0


def test_incomplete_input_is_in_the_summary_and_output_is_kept() -> None:
    sink = KeptSink()
    summary = run(ListSource(plain_frames(3), IncompleteError("cut off after 3 frames")), [sink], CONFIG)
    assert summary.incomplete == "cut off after 3 frames"
    assert (len(sink.frames), sink.end) == (3, "closed")


def test_stopped_run_says_so() -> None:
    stop = threading.Event()

    def frames() -> Iterator[Frame]:
        yield plain_frame(0)
        assert stop.wait(PATIENCE_S)
        yield from map(plain_frame, range(1, MANY_FRAMES))

    sink = KeptSink(on_write=lambda frame: stop.set())
    summary = run(ListSource(frames()), [sink], CONFIG, stop=stop)
    assert summary.was_stopped
    assert summary.captured < MANY_FRAMES
    assert sink.end == "closed"


def test_progress_gets_the_counts_and_the_source() -> None:
    told: list[tuple[type, SourceInfo]] = []
    is_told = threading.Event()

    def frames() -> Iterator[Frame]:
        assert is_told.wait(PATIENCE_S)
        yield plain_frame(0)

    def on_progress(counts: Counts, info: SourceInfo) -> None:
        told.append((type(counts), info))
        is_told.set()

    source = ListSource(frames())
    run(source, [KeptSink()], CONFIG, on_progress)
    assert set(told) == {(Counts, source.info)}


def test_side_by_side_doubles_the_width() -> None:
    sink = KeptSink()
    run(ListSource(plain_frames(1)), [sink], RunConfig(IDENTITY, side_by_side=True))
    assert sink.pictures[0].shape == (2, 6, 3)


def test_no_sink_is_refused() -> None:
    with pytest.raises(UsageError, match="no output is named"):
        run(ListSource([]), [], CONFIG)


def test_missing_model_leaves_no_output() -> None:
    source, sink = ListSource(plain_frames(1)), KeptSink()
    with pytest.raises(ModelFileError, match="no model called 'defualt'"):
        run(source, [sink], RunConfig(SessionConfig("defualt")))
    assert (source.is_closed, sink.end) == (True, "aborted")


def test_failure_reaches_the_caller_and_leaves_no_output() -> None:
    source, sink = ListSource(plain_frames(3), SourceError("torn cable")), KeptSink()
    with pytest.raises(SourceError, match="torn cable"):
        run(source, [sink], CONFIG)
    assert (source.is_closed, sink.end) == (True, "aborted")


def test_interrupt_from_the_progress_callback_leaves_no_output() -> None:
    sink = KeptSink()

    def interrupt(counts: Counts, info: SourceInfo) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(ListSource(map(plain_frame, itertools.count())), [sink], CONFIG, interrupt)
    assert sink.end == "aborted"


def test_failing_cleanup_does_not_hide_the_error() -> None:
    class Untidy(KeptSink):
        def abort(self) -> None:
            raise RuntimeError("cannot remove the part")

    with pytest.raises(ModelFileError):
        run(ListSource([]), [Untidy()], RunConfig(SessionConfig("defualt")))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "blurred"
    folder.mkdir()
    for frame in random_frames(3):
        write_picture(folder / f"{frame.seq:08d}.png", frame.pixels)
    return folder


def test_folder_of_pictures_goes_into_a_folder(pictures: Path, tmp_path: Path) -> None:
    summary = run(pictures, [tmp_path / "restored"], CONFIG)
    assert summary.emitted == {str(tmp_path / "restored"): 3}
    for path in sorted(pictures.iterdir()):
        np.testing.assert_array_equal(read_picture(tmp_path / "restored" / path.name), read_picture(path))


def test_existing_output_is_refused_and_kept_unless_forced(pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "restored.png"
    output.write_text("precious")
    first = pictures / "00000000.png"
    with pytest.raises(OutputError, match="exists already"):
        run(first, [output], CONFIG)
    assert output.read_text() == "precious"
    run(first, [output], RunConfig(IDENTITY, force=True))
    np.testing.assert_array_equal(read_picture(output), read_picture(first))


def test_second_output_refused_leaves_nothing_of_the_first(pictures: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(OutputError):
        run(pictures, [tmp_path / "restored", tmp_path / "none" / "restored"], CONFIG)
    assert set(tmp_path.iterdir()) == before


def test_missing_source_is_refused_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="check the path"):
        run(tmp_path / "none.mp4", [tmp_path / "out.mp4"], CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_model_may_be_a_file(tmp_path: Path) -> None:
    path = write_identity(tmp_path / "mine.onnx", FrameContract(halo_px=0))
    session = SessionConfig(path, "onnxruntime", BackendConfig(threads=1))
    assert run(ListSource(plain_frames(1)), [KeptSink()], RunConfig(session)).model == "mine.onnx"


def test_output_named_twice_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="named twice"):
        run(tmp_path / "none.mp4", [tmp_path / "a.mp4", tmp_path / "a.mp4"])
    assert list(tmp_path.iterdir()) == []
