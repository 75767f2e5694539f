"""What each camera URI becomes: a request to a capture process, and how that process is watched."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote, urlsplit, urlunsplit

from ..core.errors import MachineError, SourceError, UsageError
from .capture_request import CaptureRequest, Reader
from .capture_source import CaptureConfig, CaptureSource
from .gst_bindings import has_gstreamer
from .redaction import redacted
from .source_uris import (
    LiveOptions,
    device_of,
    number_of_text,
    parameters_of,
    place_of,
    size_of_text,
)

_PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}

#: without jitter buffer, whose default of 2 s would be added to the age of every frame; time stamps are the
#: camera's own, not smoothed after our clock; every coded picture is needed to decode the next; no parser,
#: since that of GStreamer 1.22 holds key frames back for a period
_RTSP_PIPELINE = (
    "rtspsrc name=source latency=0 buffer-mode=none ! application/x-rtp,media=video,encoding-name={encoding} "
    "! {depay} ! {form} ! appsink name=sink sync=false max-buffers=64"
)
_BYTES = "stream-format=byte-stream,alignment=au"
#: one for each coding of cameras; tried in turn, for which one it is the camera says only when asked
RTSP_PIPELINES = tuple(
    _RTSP_PIPELINE.format(encoding=encoding, depay=depay, form=form)
    for encoding, depay, form in (
        ("H264", "rtph264depay", f"video/x-h264,{_BYTES}"),
        ("H265", "rtph265depay", f"video/x-h265,{_BYTES}"),
        ("JPEG", "rtpjpegdepay", "image/jpeg"),
    )
)
#: a new picture displaces the oldest where the process is slow
CSI_PIPELINE = (
    "nvarguscamerasrc name=source ! video/x-raw(memory:NVMM),format=NV12,{caps} ! nvvidconv ! "
    "video/x-raw,format=NV12 ! appsink name=sink sync=false max-buffers=4 drop=true"
)

#: no probing for the rate, no waiting in the demuxer: with both the first frame comes 0.7 s later;
#: and no waiting for ever for a stream that nothing decodes
_PROMPT = {"fflags": "nobuffer", "flags": "low_delay", "fpsprobesize": "0", "probesize": "300000"}

#: a camera's daemon that is not let go of properly may hang at the next opening
_DEVICE_GRACE_S = 2.0

_DEVICE_PARAMETERS = frozenset({"size", "fps", "format"})
_CSI_PARAMETERS = frozenset({"size", "fps"})


def open_rtsp(uri: str, options: LiveOptions) -> CaptureSource:
    """Open ``rtsp://[user:password@]host[:port]/path``."""
    through_pyav = _request("pyav", uri, _PROMPT | {"rtsp_transport": options.transport}, options)
    if options.reader == "pyav" or (options.reader == "auto" and not has_gstreamer()):
        return _open_stream(uri, through_pyav, options)
    if not has_gstreamer():
        raise MachineError("GStreamer is not installed; install it, or read through PyAV, a frame period later")
    parts = urlsplit(uri)
    settings = {"location": _without_user(uri), "protocols": options.transport}
    if parts.username is not None:
        settings |= {"user-id": unquote(parts.username), "user-pw": unquote(parts.password or "")}
    request = _request("gstreamer", "\n".join(RTSP_PIPELINES), settings, options)
    return _open_stream(uri, request, options, through_pyav if options.reader == "auto" else None)


def open_http(uri: str, options: LiveOptions) -> CaptureSource:
    """Open ``http://[user:password@]host[:port]/path``: Motion JPEG, and whatever FFmpeg knows."""
    return _open_stream(uri, _request("http", uri, dict(_PROMPT), options), options)


def open_v4l2(uri: str, options: LiveOptions) -> CaptureSource:
    """Open ``v4l2:///dev/video0?size=720x1280&fps=30&format=mjpeg``; a name in /dev/v4l/by-id survives renumbering.

    Raises:
        SourceError: There is no such device.
    """
    given, device = parameters_of(uri, _DEVICE_PARAMETERS), device_of(place_of(uri))
    if not device.exists():
        raise SourceError(f"no camera at {device}; is it plugged in? (deblurrt doctor lists what this machine has)")
    settings = {"fflags": "nobuffer"}
    if "size" in given:
        height, width = size_of_text(given["size"])
        settings["video_size"] = f"{width}x{height}"
    if "fps" in given:
        settings["framerate"] = given["fps"]
    if "format" in given:
        settings["input_format"] = given["format"]
    request = _request("pyav", str(device), settings, options)
    request = replace(request, input_format="v4l2", has_monotonic_stamps=True)
    return _open_device(uri, request, options, given.get("fps"))


def open_csi(uri: str, options: LiveOptions) -> CaptureSource:
    """Open ``csi://0?size=720x1280&fps=30``, a camera on the ribbon cable of a Jetson board.

    Raises:
        UsageError: What stands for the camera is no number.
        MachineError: GStreamer is not installed.
    """
    given = parameters_of(uri, _CSI_PARAMETERS)
    if not has_gstreamer():
        raise MachineError("CSI cameras are read through GStreamer, which is not installed; JetPack brings it")
    sensor = place_of(uri) or "0"
    if not sensor.isdecimal():
        raise UsageError(f"{sensor!r} is no number of a CSI camera; expected one such as csi://0")
    height, width = size_of_text(given.get("size", "720x1280"))
    fps = number_of_text(given.get("fps", "30"), "fps")
    caps = f"width={width},height={height},framerate={round(fps * 1000)}/1000"
    request = _request("gstreamer", CSI_PIPELINE.format(caps=caps), {"sensor-id": sensor}, options)
    return _open_device(uri, request, options, str(fps))


def _request(reader: Reader, target: str, settings: dict[str, str], options: LiveOptions) -> CaptureRequest:
    return CaptureRequest(
        reader, target, settings, keeps_corrupt=options.keeps_corrupt, untagged_matrix=options.untagged_matrix
    )


def _open_stream(
    uri: str, request: CaptureRequest, options: LiveOptions, fallback: CaptureRequest | None = None
) -> CaptureSource:
    return CaptureSource(
        CaptureConfig(
            redacted(uri),
            request,
            address=_address_of(uri),
            attempts=options.attempts,
            limits=options.limits,
            reconnects_frozen=options.reconnects_frozen,
            fallback=fallback,
        )
    )


def _open_device(uri: str, request: CaptureRequest, options: LiveOptions, fps: str | None) -> CaptureSource:
    return CaptureSource(
        CaptureConfig(
            redacted(uri),
            request,
            fps=number_of_text(fps, "fps") if fps else None,
            attempts=options.attempts,
            limits=options.limits,
            reconnects_frozen=options.reconnects_frozen,
            grace_s=_DEVICE_GRACE_S,
        )
    )


def _address_of(uri: str) -> tuple[str, int]:
    """Give host and port of a stream.

    Raises:
        UsageError: There is no host, or the port is none.
    """
    parts = urlsplit(uri)
    scheme, form = parts.scheme.lower(), "HOST[:PORT]/PATH, with PORT a number up to 65535"
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{redacted(uri)} has no valid port; expected {scheme}://{form}") from error
    if not host:
        raise UsageError(f"{redacted(uri)} names no host; expected {scheme}://{form}")
    return host, port or _PORTS[scheme]


def _without_user(uri: str) -> str:
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
