"""Sound and subtitles that go from one video file into another, packet by packet."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.optional import require
from .video_source import frame_rate_of, open_container, video_stream

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.stream import Stream

logger = logging.getLogger(__name__)

#: what the new container writes itself, so that the old one's would be wrong
_OWN_METADATA = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "rotate"})


class StreamCopy:
    """Copies the sound and subtitles of a file, unchanged, in step with the new video.

    Args:
        source: The file the video's frames come from.

    Attributes:
        read_error: Why the source could not be read to its end, empty where it could.

    Raises:
        SourceError: The file cannot be read or has no video.
    """

    def __init__(self, source: Path) -> None:
        self.read_error = ""
        self._ffmpeg_error: type[Exception] = require("av", purpose="copy sound").FFmpegError
        self._input = open_container(source)
        try:
            self._video = video_stream(self._input, source)
        except BaseException:
            self._input.close()
            raise
        self._targets: dict[int, Stream] = {}
        self._waiting: Packet[Stream] | None = None
        self._packets: Iterator[Packet[Stream]] = iter(())
        self._shift_s = Fraction(0)

    @property
    def frame_rate(self) -> Fraction | None:
        """Average frames per second of the source's video."""
        return frame_rate_of(self._video)

    def pixel_aspect(self, *, is_portrait: bool) -> Fraction:
        """Width over height of one pixel, 1 where unknown.

        Args:
            is_portrait: Whether the new video is higher than wide; a source that is not was turned.
        """
        aspect = self._video.codec_context.sample_aspect_ratio or Fraction(1)
        was_portrait = self._video.codec_context.height > self._video.codec_context.width
        return 1 / aspect if was_portrait != is_portrait else aspect

    def add_streams(self, output: OutputContainer, shift_s: Fraction) -> None:
        """Declare the streams, titles and chapters in ``output``; what it cannot hold is named in the log.

        Args:
            output: A container that was not written to yet.
            shift_s: Added to every time stamp.
        """
        self._shift_s = shift_s
        output.metadata.update(_without_own(self._input.metadata))
        output.set_chapters(self._input.chapters())
        discard = require("av.stream", purpose="copy sound").Discard
        for stream in self._input.streams:
            if stream.type in ("audio", "subtitle"):
                self._add(stream, output)
            elif stream is not self._video:
                logger.debug("%s stream %d is not copied", stream.type, stream.index)
            if stream is not self._video and stream.index not in self._targets:
                stream.discard = discard.all
        # The video is read along, undecoded: where it goes on tells whether ours ended early.
        if self._targets:
            self._packets = self._read()

    def copy_until(self, time_s: Fraction, output: OutputContainer) -> None:
        """Write the packets that belong before ``time_s``, on the clock of ``output``."""
        while (packet := self._next()) is not None:
            if packet.stream is not self._video:
                if _time_s(packet) + self._shift_s > time_s:
                    self._waiting = packet
                    return
                self._write(packet, output)

    def copy_rest(self, end_s: Fraction, output: OutputContainer) -> None:
        """Write what is left; only up to ``end_s`` where the source's video goes on behind it.

        Args:
            end_s: Time of the last video frame on the clock of ``output``.
            output: The same as before.
        """
        tail: list[Packet[Stream]] = []
        while (packet := self._next()) is not None:
            is_later = _time_s(packet) + self._shift_s > end_s
            if packet.stream is self._video:
                if is_later and not packet.is_discard:
                    return
            elif is_later:
                tail.append(packet)
            else:
                self._write(packet, output)
        for packet in tail:
            self._write(packet, output)

    def close(self) -> None:
        """Release the source; closing twice is fine."""
        self._input.close()

    def _add(self, stream: Any, output: OutputContainer) -> None:
        try:
            target = output.add_stream_from_template(stream)
        except (ValueError, self._ffmpeg_error) as error:
            logger.warning(
                "%s stream %d (%s) is left out: %s", stream.type, stream.index, stream.name or "unknown codec", error
            )
            return
        target.metadata.update(_without_own(stream.metadata))
        target.disposition = stream.disposition
        self._targets[stream.index] = target

    def _read(self) -> Iterator[Packet[Stream]]:
        try:
            for packet in self._input.demux():
                is_wanted = packet.stream is self._video or packet.stream.index in self._targets
                if is_wanted and (packet.pts is not None or packet.dts is not None):
                    yield packet
        except self._ffmpeg_error as error:
            self.read_error = str(error)

    def _next(self) -> Packet[Stream] | None:
        packet, self._waiting = self._waiting, None
        return next(self._packets, None) if packet is None else packet

    def _write(self, packet: Packet[Stream], output: OutputContainer) -> None:
        shift = round(self._shift_s / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = packet.pts if packet.dts is None else packet.dts + shift
        packet.stream = self._targets[packet.stream.index]
        output.mux_one(packet)


def _time_s(packet: Packet[Stream]) -> Fraction:
    ticks = packet.dts if packet.pts is None else packet.pts
    return (ticks or 0) * packet.time_base


def _without_own(metadata: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key.lower() not in _OWN_METADATA}
