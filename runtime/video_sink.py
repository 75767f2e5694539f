"""Video files as output: checked before, complete or absent after, playable even after a crash."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from ..core.errors import IncompleteError, OutputError, UsageError
from ..core.optional import require
from ..core.outputs import check_output, check_still_free, output_error, part_of
from ..core.pictures import is_picture
from .frame import Frame
from .sinks import SinkOptions
from .stream_copy import StreamCopy
from .video_encoder import CONTAINERS, FILE_ENCODER, EncoderConfig, VideoEncoder

logger = logging.getLogger(__name__)

#: of pictures without time of their own
DEFAULT_FRAME_RATE = Fraction(25)


class VideoFileSink:
    """Encodes frames into a file that appears, whole, on ``close``.

    Every frame keeps its time stamp, to the tick in MP4 and MOV, to the millisecond in MKV, whose
    clock is no finer. Where the first is negative, picture and sound move together to start at 0.
    Colours keep the matrix and range of the input and are tagged; RGB becomes limited BT.709. Even
    sizes become 4:2:0; odd ones 4:4:4, which not every hardware player shows, to stay exact.

    Args:
        path: Final place; its suffix names the container (``CONTAINERS``).
        force: Whether an existing file is replaced, once the new one is whole.
        copy_from: Video whose sound, subtitles, titles and chapters are copied unchanged.
        frame_rate: Frames per second where frames carry no time; None stands for 25.
        encoder: How frames are compressed.

    Raises:
        UsageError: The suffix is not known.
        OutputError: The file exists already, or its folder does not.
        SourceError: ``copy_from`` cannot be read.
    """

    def __init__(
        self,
        path: Path,
        *,
        force: bool = False,
        copy_from: Path | None = None,
        frame_rate: Fraction | None = None,
        encoder: EncoderConfig = FILE_ENCODER,
    ) -> None:
        if path.suffix.lower() not in CONTAINERS:
            raise UsageError(f"{path.name} names no known video, expected {', '.join(sorted(CONTAINERS))}")
        check_output(path, force=force)
        self._path, self._part = path, part_of(path)
        self._force, self._config = force, encoder
        self._copy = None if copy_from is None else StreamCopy(copy_from)
        copied_rate = None if self._copy is None else self._copy.frame_rate
        self._rate = frame_rate or copied_rate or DEFAULT_FRAME_RATE
        self._encoder: VideoEncoder | None = None
        self._has_failed = self._is_over = False

    @property
    def path(self) -> Path:
        """Final place of the file."""
        return self._path

    def write(self, frame: Frame) -> None:
        """Encode one frame; the first decides size, clock and colours.

        Raises:
            EncoderError: The encoder failed; ``cut`` keeps what it made.
            OutputError: The disk is full, the place cannot be written, or the size changed.
        """
        if self._is_over or self._has_failed:
            raise OutputError(f"{self._path} takes no more frames, it is closed or failed; frame {frame.seq} is lost")
        with self._guarded():
            if self._encoder is None:
                suffix = self._path.suffix.lower()
                self._encoder = VideoEncoder(self._part, suffix, frame, self._rate, self._config, self._copy)
            self._encoder.write(frame)

    def close(self) -> None:
        """Flush the encoder, copy the rest of the sound and move the file into place.

        Closing twice is fine. After a failed ``write`` it only removes what was written.

        Raises:
            IncompleteError: No frame came, so there is no output; or the sound could be copied only
                in part, and the output is in place.
            OutputError: The disk is full, or the place was taken meanwhile.
        """
        if self._is_over:
            return
        if self._encoder is None or self._has_failed:
            has_failed = self._has_failed
            self.abort()
            if not has_failed:
                raise IncompleteError(f"no frame reached {self._path}; nothing was written")
            return
        with self._guarded():
            self._encoder.finish()
            check_still_free(self._path, force=self._force)
            self._part.replace(self._path)
        self._is_over = True
        self._end_copy()

    def abort(self) -> None:
        """Remove what was written; does nothing after ``close``."""
        if self._is_over:
            return
        self._is_over = True
        if self._encoder is not None:
            self._encoder.discard()
        if self._encoder is not None or self._has_failed:
            self._part.unlink(missing_ok=True)
        if self._copy is not None:
            self._copy.close()

    def cut(self) -> int:
        """End the file where its encoder failed, and move it into place; without a picture there is none.

        Returns:
            Frames that the encoder took with it.

        Raises:
            OutputError: The disk is full, or the place was taken meanwhile.
        """
        assert self._encoder is not None
        if not self._encoder.given:
            self.abort()
            return self._encoder.held
        with self._guarded():
            self._encoder.cut()
            check_still_free(self._path, force=self._force)
            self._part.replace(self._path)
        self._is_over = True
        if self._copy is not None:
            self._copy.close()
        return self._encoder.held

    def give_up(self) -> None:
        """Stop writing and leave what there is beside its final place; it plays up to its end."""
        if self._is_over:
            return
        self._is_over = True
        if self._encoder is not None:
            self._encoder.discard()
            logger.warning("what was recorded is in %s", self._part)
        if self._copy is not None:
            self._copy.close()

    def _end_copy(self) -> None:
        if self._copy is None:
            return
        self._copy.close()
        if self._copy.read_error:
            raise IncompleteError(
                f"sound and subtitles of {self._path.name} end early: their source could not be read "
                f"to its end ({self._copy.read_error})"
            )

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (OSError, require("av", purpose="write video").FFmpegError) as error:
            self._has_failed = True
            raise output_error(self._path, error) from error
        except BaseException:
            self._has_failed = True
            raise


def open_video_file(path: Path, options: SinkOptions) -> VideoFileSink:
    """Open a video output; a picture or folder as ``options.copy_from`` holds nothing to copy."""
    source = options.copy_from
    if source is not None and (source.is_dir() or is_picture(source)):
        source = None
    return VideoFileSink(path, force=options.force, copy_from=source, frame_rate=options.frame_rate)
