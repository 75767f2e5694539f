"""What this machine offers an engine."""

from __future__ import annotations

import pytest

from deblurrt.core import tensorrt_packages
from deblurrt.core.engine_file import Host
from deblurrt.core.errors import MissingExtraError
from deblurrt.core.gpus import Gpu, GpuFacts
from deblurrt.core.tensorrt_packages import PACKAGES, library_version, this_host

FIRST, SECOND = Gpu("RTX 4090", "8.9"), Gpu("RTX 5090", "12.0")


@pytest.mark.parametrize(
    ("told_by_cuda", "told_by_tool", "host"),
    [
        (GpuFacts((SECOND,)), GpuFacts((FIRST, SECOND)), Host("1.7.1", "12.0", "RTX 5090")),
        (GpuFacts(), GpuFacts((FIRST,)), Host("1.7.1", "8.9", "RTX 4090")),
        (None, GpuFacts((FIRST,)), Host("1.7.1", "8.9", "RTX 4090")),
        (None, GpuFacts(), Host("1.7.1")),
    ],
)
def test_gpu_is_the_one_cuda_takes_and_else_the_first(
    monkeypatch: pytest.MonkeyPatch, told_by_cuda: GpuFacts | None, told_by_tool: GpuFacts, host: Host
) -> None:
    monkeypatch.setattr(tensorrt_packages, "version", lambda _package: "1.7.1")
    monkeypatch.setattr(tensorrt_packages, "read_cuda", lambda: told_by_cuda)
    monkeypatch.setattr(tensorrt_packages, "probe_gpus", lambda: told_by_tool)
    assert this_host("tensorrt-rtx") == host


def test_missing_library_leaves_the_version_open_and_is_named_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "tensorrt", ())
    monkeypatch.setitem(tensorrt_packages.MODULES, "tensorrt", "tensorrt_that_is_not_installed")
    assert this_host("tensorrt").tensorrt == ""
    with pytest.raises(MissingExtraError, match="tensorrt_that_is_not_installed is needed to run it"):
        library_version("tensorrt", "run it")
