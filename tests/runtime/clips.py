"""Tiny videos for the tests of sources and sinks, written without the code under test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from deblurrt.runtime.color import ColorSpec
from deblurrt.runtime.frame import Frame

Pixels = NDArray[np.uint8]

SOUND_RATE = 48_000

RGB = ColorSpec()

#: weight of red and of blue in luma, per matrix
LUMA_WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}

#: saturated and dull, so that a wrong matrix or range shows by 10 levels and more
PATCHES = np.array([(200, 30, 40), (20, 180, 60), (30, 60, 210), (235, 220, 20), (128, 128, 128)], np.uint8)


@dataclass(frozen=True)
class ClipConfig:
    """How ``write_clip`` compresses; lossless unless told otherwise."""

    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    options: dict[str, str] = field(default_factory=lambda: {"qp": "0", "preset": "ultrafast"})
    container_options: dict[str, str] = field(default_factory=dict)
    color: ColorSpec | None = None
    time_base: Fraction = Fraction(1, 25)
    sound: str | None = None
    sound_packets: int = 40


def noise_frames(count: int, size: tuple[int, int] = (24, 32), seed: int = 0) -> list[Pixels]:
    """Different, incompressible pictures."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]


def patch_picture(size: tuple[int, int]) -> Pixels:
    """Vertical bars of ``PATCHES``, each wider than any filter reaches."""
    bars = np.repeat(np.arange(len(PATCHES)), -(-size[1] // len(PATCHES)))[: size[1]]
    return np.broadcast_to(PATCHES[bars], (*size, 3)).copy()


def patches_of(pixels: Pixels) -> NDArray[np.int64]:
    """The colour in the middle of each bar."""
    height, width = pixels.shape[:2]
    middles = (np.arange(len(PATCHES)) * 2 + 1) * width // (2 * len(PATCHES))
    colors: NDArray[np.int64] = pixels[height // 2, middles].astype(np.int64)
    return colors


def yuv_frame(pixels: Pixels, color: ColorSpec, pixel_format: str = "yuv444p") -> av.VideoFrame:
    """Convert by the textbook, full resolution or every second chroma sample, 8 or 10 bits."""
    red_weight, blue_weight = LUMA_WEIGHTS[color.matrix]
    red, green, blue = (pixels[..., channel] / 255 for channel in range(3))
    luma = red_weight * red + (1 - red_weight - blue_weight) * green + blue_weight * blue
    chroma = [(blue - luma) / (2 - 2 * blue_weight), (red - luma) / (2 - 2 * red_weight)]
    scale, offset, chroma_scale = (255, 0, 255) if color.is_full_range else (219, 16, 224)
    depth = 4 if pixel_format.endswith("10le") else 1
    planes = [luma * scale + offset, *(plane * chroma_scale + 128 for plane in chroma)]
    if "420" in pixel_format:
        planes[1:] = [plane[::2, ::2] for plane in planes[1:]]
    frame = av.VideoFrame(pixels.shape[1], pixels.shape[0], pixel_format)
    for plane, values in zip(frame.planes, planes, strict=True):
        kind = np.uint16 if depth > 1 else np.uint8
        line = np.zeros((plane.height, plane.line_size // np.dtype(kind).itemsize), kind)
        line[:, : plane.width] = np.clip(np.rint(values * depth), 0, 255 * depth + depth - 1)
        plane.update(line.tobytes())
    return frame


def write_clip(
    path: Path,
    frames: Sequence[Pixels | av.VideoFrame],
    ticks: Sequence[int] | None = None,
    config: ClipConfig | None = None,
) -> Path:
    """Encode RGB pictures or ready frames at ``ticks`` of ``config.time_base``, with sound where asked."""
    config = config or ClipConfig()
    with av.open(str(path), "w", container_options=config.container_options) as container:
        stream: Any = container.add_stream(config.codec, rate=25, options=config.options)
        first = frames[0]
        stream.height, stream.width = (
            (first.height, first.width) if isinstance(first, av.VideoFrame) else first.shape[:2]
        )
        stream.pix_fmt, stream.codec_context.time_base = config.pixel_format, config.time_base
        if config.color is not None:
            stream.codec_context.colorspace = config.color.matrix
            stream.codec_context.color_range = 2 if config.color.is_full_range else 1
        sound = container.add_stream(config.sound, rate=SOUND_RATE) if config.sound else None
        for index, pixels in enumerate(frames):
            frame = pixels if isinstance(pixels, av.VideoFrame) else av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index if ticks is None else ticks[index], config.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _add_sound(container, sound, config.sound_packets)
    return path


def _add_sound(container: Any, stream: Any, packets: int) -> None:
    rng = np.random.default_rng(1)
    for index in range(packets):
        samples = rng.normal(0, 0.1, (2, 1024)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, index * 1024, Fraction(1, SOUND_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def packets_of(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """Time and bytes of every packet of the first stream of ``kind`` (``audio``, ``subtitle``)."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        packets = [packet for packet in container.demux(stream) if packet.size]
        return [(Fraction(packet.pts or 0) * packet.time_base, bytes(packet)) for packet in packets]


def times_of(path: Path) -> list[Fraction]:
    """When each video frame is shown, seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        stamps = [frame.pts for frame in container.decode(stream)]
        assert None not in stamps
        return [stamp * stream.time_base for stamp in stamps if stamp is not None]


def frames_from(
    pictures: Sequence[Pixels],
    ticks: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    color: ColorSpec = RGB,
) -> list[Frame]:
    """Frames as a video source gives them; without ``ticks`` as a folder does."""
    return [
        Frame(
            pixels,
            seq,
            0,
            pts=None if ticks is None else ticks[seq],
            time_base=None if ticks is None else time_base,
            color=color,
        )
        for seq, pixels in enumerate(pictures)
    ]
