"""Architectures are read in every way they are written, and matched as cubins are."""

from __future__ import annotations

import pytest

from deblurrt.core.errors import UsageError
from deblurrt.core.gpus import Gpu, GpuFacts
from deblurrt.plugins import archs
from deblurrt.plugins.archs import nvcc_arch, parse_arch, serves, this_gpu


@pytest.mark.parametrize("text", ["87", "sm87", "sm_87", " sm87 "])
def test_architectures_are_read(text: str) -> None:
    assert parse_arch(text) == "sm87"
    assert nvcc_arch(parse_arch(text)) == "sm_87"


@pytest.mark.parametrize("text", ["", "native", "8.7", "sm", "sm_0", "sm_8", "sm12345", "compute_87"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no compute capability"):
        parse_arch(text)


@pytest.mark.parametrize(
    ("built", "arch", "is_served"),
    [
        ("sm86", "sm89", True),
        ("sm100", "sm103", True),
        ("sm120", "sm121", True),
        ("sm89", "sm86", False),
        ("sm80", "sm90", False),
        ("sm90", "sm100", False),
        # a Jetson runs its own code only
        ("sm86", "sm87", False),
        ("sm87", "sm89", False),
        ("sm87", "sm87", True),
    ],
)
def test_code_runs_on_later_gpus_of_its_major_version(built: str, arch: str, is_served: bool) -> None:
    assert serves(("sm75", built), arch) is is_served


def test_gpus_that_do_not_tell_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = (Gpu("a"), Gpu("b", "9.0"), Gpu("c", "8.7"), Gpu("d", "9.0"))
    monkeypatch.setattr(archs, "probe_gpus", lambda: GpuFacts(gpus=gpus))
    assert this_gpu() == ("sm90", "sm87")
