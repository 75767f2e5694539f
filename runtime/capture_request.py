"""What a capture process is told to read; secrets travel inside, so it never shows in a list of processes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

#: who reads, a key of ``READERS`` of the capture process
Reader = Literal["gstreamer", "http", "pyav"]


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """What to read and how.

    Attributes:
        reader: Who reads, a key of ``READERS``.
        target: What to open; for GStreamer descriptions of pipelines that end in an ``appsink``
            named ``sink``, a line each, the first that fits is taken.
        settings: Options of FFmpeg's demuxer; for GStreamer properties of the element named ``source``.
        input_format: FFmpeg's demuxer, where it is not to guess.
        keeps_corrupt: Whether damaged frames are sent.
        has_monotonic_stamps: Whether time stamps may be readings of CLOCK_MONOTONIC, as of V4L2 drivers.
        untagged_matrix: Colour matrix of video that names none; None to go by its height.
    """

    reader: Reader
    target: str = field(repr=False)
    settings: dict[str, str] = field(default_factory=dict, repr=False)
    input_format: str | None = None
    keeps_corrupt: bool = False
    has_monotonic_stamps: bool = False
    untagged_matrix: int | None = None

    def to_bytes(self) -> bytes:
        """Write it down."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> CaptureRequest:
        """Read what ``to_bytes`` wrote."""
        return cls(**json.loads(data))
