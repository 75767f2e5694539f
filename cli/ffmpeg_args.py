"""What ffmpeg must be told at the other end of a pipe of raw video."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from ..core.artifacts import open_onnx
from ..core.engine_file import is_engine, open_engine
from ..core.errors import UsageError
from ..runtime.redaction import redacted
from ..runtime.result_sinks import PIPES, scheme_of
from ..runtime.session import SessionConfig, contract_of
from ..runtime.shipped_models import find_model
from ..runtime.source_uris import is_live_uri, number_of_text, size_of_text
from ..runtime.sources import STANDARD_INPUT, open_source
from ..runtime.video_pipe import DEFAULT_FRAME_RATE
from .live_options import LiveChoice
from .opening import ModelChoice, is_network, open_model

#: sources whose parameters say their size
_SIZED = ("v4l2://", "csi://", "synthetic://")


def ffmpeg_args(choice: LiveChoice, sinks: Sequence[str], model: ModelChoice, config: SessionConfig) -> str:
    """Give the options of the ffmpeg that reads standard output; without such an output, of the one that writes.

    Raises:
        UsageError: Neither end of the run is a pipe, or the size of the frames is not known before they come.
        SourceError: The source cannot be read.
        ModelFileError: There is no such model.
    """
    scheme = next((scheme for sink in sinks if (scheme := scheme_of(sink)) in PIPES), None)
    if scheme is None and choice.sources[0] != STANDARD_INPUT:
        raise UsageError("--print-ffmpeg-args goes with a pipe: SOURCE -, or an output -, y4m:- or raw:-")
    if scheme is None:
        return _raw_text(*_format(choice), "-") if choice.raw is not None else "-f yuv4mpegpipe -"
    if scheme != "raw":
        return "-f yuv4mpegpipe -i -"
    (height, width), rate = _format(choice)
    scale = _scale(model, config)
    return _raw_text((height * scale, width * scale), rate, "-i -")


def _raw_text(size: tuple[int, int], rate: Fraction, place: str) -> str:
    height, width = size
    names = ("-pixel_format", "-video_size", "-framerate") if place == "-i -" else ("-pix_fmt", "-s", "-r")
    values = ("rgb24", f"{width}x{height}", str(rate))
    return " ".join(["-f rawvideo", *(f"{name} {value}" for name, value in zip(names, values, strict=True)), place])


def _format(choice: LiveChoice) -> tuple[tuple[int, int], Fraction]:
    """Size and rate of the first source's frames."""
    source = choice.sources[0]
    if source == STANDARD_INPUT:
        if choice.raw is None:
            raise UsageError("Y4M on standard input says its size only when it comes; give an output - (Y4M) instead")
        return choice.raw.size, choice.raw.frame_rate
    if is_live_uri(source):
        given = dict(parse_qsl(urlsplit(source).query)) if source.startswith(_SIZED) else {}
        if not given.keys() >= {"size", "fps"}:
            raise UsageError(
                f"{redacted(source)} says its size and rate only when it runs; give an output - (Y4M), or a camera of "
                "this machine as v4l2:///dev/video0?size=720x1280&fps=30"
            )
        return size_of_text(given["size"]), Fraction(number_of_text(given["fps"], "fps")).limit_denominator(1001)
    with closing(open_source(source)) as opened:
        return opened.info.size, opened.info.frame_rate or DEFAULT_FRAME_RATE


def _scale(model: ModelChoice, config: SessionConfig) -> int:
    """How much a model enlarges; only networks of the zoo must be opened for that."""
    if is_network(model.model):
        with open_model(model, config).session as session:
            return session.contract.scale
    if is_engine(model.model):
        return open_engine(Path(model.model)).manifest.contract.scale
    return contract_of(open_onnx(find_model(model.model))).scale
