from __future__ import annotations

from pathlib import Path

import pytest

from deblurrt.core.errors import MachineError
from deblurrt.plugins import tensorrt_headers
from deblurrt.plugins.tensorrt_headers import HEADER, ROOT_VARIABLE, VERSION_HEADER, find_headers

#: as in TensorRT 10, in 11, and in TensorRT-RTX
PLAIN = "#define NV_TENSORRT_MAJOR 10 //!< major\n#define NV_TENSORRT_MINOR 3 //!< minor\n"
NAMED = (
    "#define TRT_MAJOR_ENTERPRISE 11\n#define TRT_MINOR_ENTERPRISE 1\n"
    "#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE //!< major\n#define NV_TENSORRT_MINOR TRT_MINOR_ENTERPRISE\n"
)
OF_RTX = (
    "#define TRT_MAJOR_RTX 1\n#define TRT_MINOR_RTX 7\n"
    "#define NV_TENSORRT_MAJOR TRT_MAJOR_RTX\n#define NV_TENSORRT_MINOR TRT_MINOR_RTX\n"
)


def headers(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    (folder / HEADER).touch()
    (folder / VERSION_HEADER).write_text(version)
    return folder


@pytest.fixture(autouse=True)
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system without TensorRT."""
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    monkeypatch.setattr(tensorrt_headers, "SYSTEM", tmp_path / "usr/include")
    monkeypatch.setattr(tensorrt_headers, "PLACES", (tmp_path / "opt/tensorrt",))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    return tmp_path / "usr/include"


@pytest.mark.parametrize(("text", "version"), [(PLAIN, (10, 3)), (NAMED, (11, 1))])
@pytest.mark.parametrize("place", ["include", ".", "include/aarch64-linux-gnu", "targets/aarch64-linux-gnu/include"])
def test_headers_are_found_below_a_named_root(tmp_path: Path, text: str, version: tuple[int, int], place: str) -> None:
    folder = headers(tmp_path / "root" / place, text)
    found = find_headers(tmp_path / "root")
    assert (found.folder.resolve(), found.version) == (folder.resolve(), version)


def test_named_root_comes_before_the_variable_and_that_before_the_system(
    tmp_path: Path, system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers(system / "aarch64-linux-gnu", PLAIN)
    assert find_headers().folder == system / "aarch64-linux-gnu"
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "variable"))
    headers(tmp_path / "variable/include", PLAIN)
    assert find_headers().folder == tmp_path / "variable/include"
    headers(tmp_path / "named/include", NAMED)
    assert find_headers(tmp_path / "named").folder == tmp_path / "named/include"


def test_missing_headers_are_named_with_what_brings_them(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=rf"{HEADER}\) are not in .*libnvinfer-headers-dev.*--tensorrt-root"):
        find_headers()
    with pytest.raises(MachineError, match=r"not under .*nowhere"):
        find_headers(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OF_RTX, r"of version 1\.7, .*TensorRT-RTX"),
        (PLAIN.replace("3", "2"), r"of version 10\.2, plugins need TensorRT 10\.3"),
        ("", "does not say its version"),
    ],
)
def test_headers_of_other_versions_are_refused(tmp_path: Path, text: str, said: str) -> None:
    headers(tmp_path / "root/include", text)
    with pytest.raises(MachineError, match=said):
        find_headers(tmp_path / "root")
