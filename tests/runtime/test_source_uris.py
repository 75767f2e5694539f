from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from deblurrt.core.errors import SourceError, UsageError
from deblurrt.runtime.camera_uris import CSI_PIPELINE, RTSP_PIPELINES
from deblurrt.runtime.gst_bindings import GstError, Pipeline, has_gstreamer, start_gstreamer
from deblurrt.runtime.gstreamer_reader import _ended
from deblurrt.runtime.source_uris import LIVE_SOURCES, device_of, is_live_uri, open_live_source, place_of


@pytest.mark.parametrize("name", ["rtsp://cam/live", "0", "12", "/dev/video2", "csi://0", "synthetic://"])
def test_cameras_and_streams_are_live(name: str) -> None:
    assert is_live_uri(name)


@pytest.mark.parametrize("name", ["drive.mp4", "frames/", "-", "/dev/shm/clip.mp4", "0.png", "shots/*.png"])
def test_files_are_not_live(name: str) -> None:
    assert not is_live_uri(name)


@pytest.mark.parametrize("scheme", sorted(LIVE_SOURCES))
def test_every_scheme_has_its_factory(scheme: str) -> None:
    module, attribute = LIVE_SOURCES[scheme]
    assert callable(getattr(importlib.import_module(module, "deblurrt.runtime"), attribute))


def test_an_unknown_scheme_is_refused_without_its_secrets() -> None:
    with pytest.raises(UsageError, match=r"gopher://\*\*\*@cam/live names no known live source, expected csi://"):
        open_live_source("gopher://me:secret@cam/live")


@pytest.mark.parametrize("uri", ["rtsp:///live", "http://?a=1"])
def test_a_stream_without_host_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match=r"names no host; expected \w+://HOST"):
        open_live_source(uri)


@pytest.mark.skipif(not has_gstreamer(), reason="GStreamer's libraries are not installed")
def test_csi_cameras_have_numbers() -> None:
    with pytest.raises(UsageError, match="'front' is no number of a CSI camera"):
        open_live_source("csi://front")


@pytest.mark.skipif(not has_gstreamer(), reason="GStreamer's libraries are not installed")
def test_a_missing_plugin_of_gstreamer_is_nothing_to_wait_for() -> None:
    start_gstreamer()
    with pytest.raises(GstError) as caught:
        Pipeline("nosuchelement name=source ! appsink name=sink", {})
    ended = _ended(caught.value)
    assert ended.cause == "unsupported"
    assert ended.reason.startswith('this GStreamer has no element "nosuchelement"; install the plugin')


def test_a_camera_that_is_not_there_is_refused() -> None:
    with pytest.raises(SourceError, match="no camera at /dev/video987; is it plugged in"):
        open_live_source("987")


@pytest.mark.parametrize(
    ("uri", "device"),
    [
        ("v4l2://", "/dev/video0"),
        ("v4l2://3", "/dev/video3"),
        ("v4l2:///dev/video1?fps=30", "/dev/video1"),
        ("v4l2:///dev/v4l/by-id/usb-cam%200-index0", "/dev/v4l/by-id/usb-cam 0-index0"),
    ],
)
def test_devices_are_named_by_number_or_file(uri: str, device: str) -> None:
    assert device_of(place_of(uri)) == Path(device)


def test_pipelines_stay_as_they_were_tried() -> None:
    assert RTSP_PIPELINES[0] == (
        "rtspsrc name=source latency=0 buffer-mode=none ! application/x-rtp,media=video,encoding-name=H264 ! "
        "rtph264depay ! video/x-h264,stream-format=byte-stream,alignment=au ! "
        "appsink name=sink sync=false max-buffers=64"
    )
    assert [pipeline.split(" ! ")[2] for pipeline in RTSP_PIPELINES] == ["rtph264depay", "rtph265depay", "rtpjpegdepay"]
    assert CSI_PIPELINE.format(caps="width=1280,height=720,framerate=30000/1000") == (
        "nvarguscamerasrc name=source ! video/x-raw(memory:NVMM),format=NV12,width=1280,height=720,"
        "framerate=30000/1000 ! nvvidconv ! video/x-raw,format=NV12 ! "
        "appsink name=sink sync=false max-buffers=4 drop=true"
    )
