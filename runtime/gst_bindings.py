"""The few functions of GStreamer that reading needs, through ctypes: no Python package of it is required.

Offsets are of the stable ABI of GStreamer 1.x on 64-bit machines.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import Any

NULL_STATE, PLAYING_STATE = 1, 4
EOS_MESSAGE, ERROR_MESSAGE = 1 << 0, 1 << 1
NO_TIME = 2**64 - 1

_MESSAGE_TYPE_OFFSET, _PTS_OFFSET = 64, 72
_MAP_READ = 1

#: library -> function -> (result, arguments)
_SIGNATURES: dict[str, dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "gstreamer-1.0": {
        "gst_init_check": (c_int, (c_void_p, c_void_p, c_void_p)),
        "gst_version_string": (c_void_p, ()),
        "gst_parse_launch": (c_void_p, (c_char_p, c_void_p)),
        "gst_bin_get_by_name": (c_void_p, (c_void_p, c_char_p)),
        "gst_util_set_object_arg": (None, (c_void_p, c_char_p, c_char_p)),
        "gst_element_set_state": (c_int, (c_void_p, c_int)),
        "gst_element_get_bus": (c_void_p, (c_void_p,)),
        "gst_bus_timed_pop_filtered": (c_void_p, (c_void_p, c_uint64, c_int)),
        "gst_message_parse_error": (None, (c_void_p, c_void_p, c_void_p)),
        "gst_object_unref": (None, (c_void_p,)),
        "gst_mini_object_unref": (None, (c_void_p,)),
        "gst_sample_get_buffer": (c_void_p, (c_void_p,)),
        "gst_sample_get_caps": (c_void_p, (c_void_p,)),
        "gst_caps_to_string": (c_void_p, (c_void_p,)),
        "gst_buffer_map": (c_int, (c_void_p, c_void_p, c_int)),
        "gst_buffer_unmap": (None, (c_void_p, c_void_p)),
    },
    "gstapp-1.0": {"gst_app_sink_try_pull_sample": (c_void_p, (c_void_p, c_uint64))},
    "gstvideo-1.0": {
        "gst_video_colorimetry_from_string": (c_int, (c_void_p, c_char_p)),
        "gst_video_color_matrix_to_iso": (c_uint32, (c_int,)),
        "gst_video_color_primaries_to_iso": (c_uint32, (c_int,)),
        "gst_video_transfer_function_to_iso": (c_uint32, (c_int,)),
    },
    "glib-2.0": {"g_free": (None, (c_void_p,)), "g_quark_to_string": (c_char_p, (c_uint32,))},
}


class _Error(ctypes.Structure):
    _fields_ = [("domain", c_uint32), ("code", c_int), ("message", c_char_p)]


class _Map(ctypes.Structure):
    _fields_ = [
        ("memory", c_void_p),
        ("flags", c_int),
        ("data", POINTER(c_uint8)),
        ("size", c_size_t),
        ("maxsize", c_size_t),
        ("reserved", c_void_p * 8),
    ]


class GstError(Exception):
    """What GStreamer reports on a pipeline's bus.

    Attributes:
        domain: ``resource``, ``stream``, ``core``, ``library`` or ``parse``.
        code: Number within the domain.
    """

    def __init__(self, domain: str, code: int, message: str) -> None:
        super().__init__(message)
        self.domain, self.code = domain, code


@cache
def _library(name: str) -> ctypes.CDLL:
    library = ctypes.CDLL(f"lib{name}.so.0")
    for function, (result, arguments) in _SIGNATURES[name].items():
        bound = getattr(library, function)
        bound.restype, bound.argtypes = result, arguments
    return library


@cache
def has_gstreamer() -> bool:
    """Whether the libraries are installed; loads them."""
    try:
        for name in _SIGNATURES:
            _library(name)
    except (OSError, AttributeError):
        return False
    return ctypes.sizeof(c_void_p) == 8


def start_gstreamer() -> str:
    """Initialise the library, once per process, and give its version."""
    gst = _library("gstreamer-1.0")
    gst.gst_init_check(None, None, None)
    return _text(gst.gst_version_string())


class Pipeline:
    """A running pipeline that ends in an ``appsink`` named ``sink``.

    Args:
        description: As of ``gst-launch-1.0``.
        settings: Properties of the element named ``source``; these never show in a list of processes.

    Raises:
        GstError: An element is missing, or the description is wrong.
    """

    def __init__(self, description: str, settings: dict[str, str]) -> None:
        gst = _library("gstreamer-1.0")
        error = POINTER(_Error)()
        self._pipeline = gst.gst_parse_launch(description.encode(), byref(error))
        if error:
            raise _error_of(error)
        source, self._sink = (gst.gst_bin_get_by_name(self._pipeline, name) for name in (b"source", b"sink"))
        for name, value in settings.items():
            gst.gst_util_set_object_arg(source, name.encode(), value.encode())
        gst.gst_object_unref(source)
        self._bus = gst.gst_element_get_bus(self._pipeline)
        gst.gst_element_set_state(self._pipeline, PLAYING_STATE)

    def pull(self, timeout_ns: int) -> Sample | None:
        """Wait for the next picture; None when there was none in time."""
        sample = _library("gstapp-1.0").gst_app_sink_try_pull_sample(self._sink, timeout_ns)
        return Sample(sample) if sample else None

    def is_over(self) -> bool:
        """Whether the stream ended.

        Raises:
            GstError: It failed.
        """
        gst = _library("gstreamer-1.0")
        message = gst.gst_bus_timed_pop_filtered(self._bus, 0, EOS_MESSAGE | ERROR_MESSAGE)
        if not message:
            return False
        if c_uint32.from_address(message + _MESSAGE_TYPE_OFFSET).value == EOS_MESSAGE:
            return True
        error = POINTER(_Error)()
        gst.gst_message_parse_error(message, byref(error), None)
        raise _error_of(error)

    def close(self) -> None:
        """Stop, say good-bye to the far side and release everything; only once."""
        gst = _library("gstreamer-1.0")
        gst.gst_element_set_state(self._pipeline, NULL_STATE)
        for handle in (self._sink, self._bus, self._pipeline):
            gst.gst_object_unref(handle)


class Sample:
    """One picture of a pipeline; ``close`` gives it back."""

    def __init__(self, handle: int) -> None:
        gst = _library("gstreamer-1.0")
        self._handle = handle
        self._buffer: int = gst.gst_sample_get_buffer(handle)
        self._map = _Map()
        self._is_mapped = bool(gst.gst_buffer_map(self._buffer, byref(self._map), _MAP_READ))
        self.caps = _text(gst.gst_caps_to_string(gst.gst_sample_get_caps(handle)))
        pts = c_uint64.from_address(self._buffer + _PTS_OFFSET).value
        self.pts_ns = None if pts == NO_TIME else pts

    @property
    def data(self) -> Any:
        """The bytes, as an array of ctypes; valid until ``close``."""
        size = self._map.size if self._is_mapped else 0
        return ctypes.cast(self._map.data, POINTER(c_uint8 * size)).contents if size else (c_uint8 * 0)()

    def close(self) -> None:
        """Give the picture back."""
        gst = _library("gstreamer-1.0")
        if self._is_mapped:
            gst.gst_buffer_unmap(self._buffer, byref(self._map))
        gst.gst_mini_object_unref(self._handle)


def color_numbers(colorimetry: str) -> tuple[int, int, int, bool]:
    """Give matrix, primaries and transfer (ITU-T H.273) and whether the range is full."""
    video = _library("gstvideo-1.0")
    values = (c_int * 4)()
    if not video.gst_video_colorimetry_from_string(byref(values), colorimetry.encode()):
        return 2, 2, 2, False
    value_range, matrix, transfer, primaries = values
    return (
        video.gst_video_color_matrix_to_iso(matrix),
        video.gst_video_color_primaries_to_iso(primaries),
        video.gst_video_transfer_function_to_iso(transfer),
        value_range == 1,
    )


def _text(address: int) -> str:
    """Take a string that is ours to free."""
    text = ctypes.string_at(address).decode(errors="replace")
    _library("glib-2.0").g_free(address)
    return text


def _error_of(error: Any) -> GstError:
    domain = _library("glib-2.0").g_quark_to_string(error.contents.domain) or b""
    message = (error.contents.message or b"").decode(errors="replace")
    # all are called gst-…-error-quark but one: gst_parse_error
    name = domain.decode().replace("_", "-").removeprefix("gst-").partition("-")[0]
    return GstError(name, error.contents.code, message)
