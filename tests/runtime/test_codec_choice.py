from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction

import pytest

from deblurrt.core.errors import MachineError
from deblurrt.runtime import codec_choice
from deblurrt.runtime.codec_choice import CODECS, bit_rate_of, hardware_options, why_not, working_codec


@pytest.fixture(autouse=True)
def _no_memory() -> Iterator[None]:
    working_codec.cache_clear()
    yield
    working_codec.cache_clear()


@pytest.mark.parametrize(("size", "pixel_format"), [((64, 64), "yuv420p"), ((33, 35), "yuv444p")])
def test_x264_works_everywhere(size: tuple[int, int], pixel_format: str) -> None:
    assert why_not("libx264", size, pixel_format) is None


def test_encoder_that_is_listed_but_cannot_work_is_refused_with_a_reason() -> None:
    assert why_not("h264_nvenc", (1, 1), "yuv420p")
    assert why_not("no_such_encoder", (64, 64), "yuv420p")


def test_first_encoder_that_works_is_taken_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(codec_choice, "why_not", lambda codec, *_: "no device" if codec == "h264_nvenc" else None)
    with caplog.at_level(logging.INFO):
        assert [working_codec((64, 64), "yuv420p") for _ in range(3)] == [CODECS[1]] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "recording 64x64 with h264_v4l2m2m (h264_nvenc: no device)"
    ]


def test_no_encoder_at_all_is_a_machine_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_choice, "why_not", lambda *_: "broken")
    with pytest.raises(MachineError, match=r"no encoder of H\.264 works here: h264_nvenc: broken"):
        working_codec((64, 64), "yuv420p")


def test_quality_becomes_options_or_a_bit_rate() -> None:
    assert hardware_options("h264_nvenc", 16)["qp"] == "20"
    assert hardware_options("h264_v4l2m2m", 16) == {}
    assert bit_rate_of((720, 1280), Fraction(30)) == 6_912_000
