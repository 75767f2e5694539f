"""Engines are refused before their library sees them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.engine_file import EngineFile, Host, open_engine
from deblurrt.core.errors import ContractError, MachineError, ModelFileError
from deblurrt.core.manifest import EngineManifest, write_manifest

ORIN = EngineManifest(
    model="mprnet.onnx",
    contract=FrameContract(),
    onnx_sha256="a" * 64,
    backend="tensorrt",
    tensorrt="10.3.0",
    gpu="Orin",
    compute_capability="8.7",
    shapes=((64, 64), (720, 1280), (1088, 1920)),
    plan_sha256=hashlib.sha256(b"plan").hexdigest(),
    plan_bytes=4,
)
RTX = replace(ORIN, backend="tensorrt-rtx", tensorrt="1.7.1", gpu="", compute_capability="")
HERE = Host("10.3.0", "8.7", "Orin")


def misfit(manifest: EngineManifest, host: Host) -> str | None:
    return EngineFile(Path("m.engine"), manifest).misfit(host)


@pytest.mark.parametrize(
    ("manifest", "host", "said"),
    [
        (ORIN, HERE, None),
        (ORIN, Host(), "it needs tensorrt 10.3.0, which is not installed"),
        (ORIN, replace(HERE, tensorrt="10.13.3"), "it was built with tensorrt 10.3.0, here is 10.13.3"),
        (ORIN, Host("10.3.0"), "it needs a GPU, and none was found"),
        (ORIN, Host("10.3.0", "11.0", "Thor"), "it was built on Orin of compute capability 8.7, Thor has 11.0"),
        (replace(ORIN, compute_capability=""), HERE, None),
        (
            ORIN,
            replace(HERE, compute_capability=""),
            "it was built on Orin of compute capability 8.7, Orin has one that is not known (pip install",
        ),
        (replace(ORIN, compute_capability=""), replace(HERE, compute_capability=""), None),
        (RTX, Host("1.7.1", "8.9", "RTX 4090"), None),
        (RTX, Host("1.7.1", "8.7", "Orin"), "it runs on compute capability 8.0, 8.6, 8.9, 12.0, 12.1, Orin has 8.7"),
        (replace(RTX, targets=("sm86", "sm120")), Host("1.7.1", "12.0", "RTX 5090"), None),
        (
            replace(RTX, targets=("sm86",)),
            Host("1.7.1", "8.9", "RTX 4090"),
            "it runs on compute capability 8.6, RTX",
        ),
    ],
)
def test_engine_fits_its_version_and_gpu_alone(manifest: EngineManifest, host: Host, said: str | None) -> None:
    found = misfit(manifest, host)
    assert found is None if said is None else found is not None and found.startswith(said)


def test_misfit_names_the_command_that_builds_it() -> None:
    with pytest.raises(MachineError) as caught:
        EngineFile(Path("m.engine"), ORIN).check_fits(replace(HERE, tensorrt="10.4.0"))
    command = "deblurrt build mprnet.onnx --backend tensorrt --shapes 64x64/720x1280/1088x1920 -o m.engine --force"
    assert str(caught.value).endswith(f"build it: {command}")
    EngineFile(Path("m.engine"), ORIN).check_fits(HERE)


@pytest.mark.parametrize("host", [Host(), Host("10.3.0")])
def test_what_a_build_does_not_bring_is_for_the_doctor(host: Host) -> None:
    with pytest.raises(MachineError, match=r"; deblurrt doctor says what is missing$"):
        EngineFile(Path("m.engine"), ORIN).check_fits(host)


def test_command_that_built_it_builds_it_again() -> None:
    known = replace(RTX, command="deblurrt build edpn_sr --checkpoint 'my weights.pth' --targets sm86")
    path = Path("engines/my m.engine")
    assert EngineFile(path, known).rebuild() == f"{known.command} -o 'engines/my m.engine' --force"


def test_network_is_built_again_in_its_types() -> None:
    network = replace(RTX, model="mprnet", shapes=((720, 1280),) * 3, precision={"fp16": 0.004, "fp32": 0.996})
    command = "deblurrt build mprnet --backend tensorrt-rtx --size 720x1280 --precision fp32 -o m.engine --force"
    assert EngineFile(Path("m.engine"), network).rebuild() == command


def test_frames_outside_the_profile_are_refused_with_both_remedies() -> None:
    engine = EngineFile(Path("m.engine"), ORIN)
    engine.check_size((1088, 1920))
    for size in ((1089, 1920), (63, 64)):
        with pytest.raises(MachineError, match=r"takes 64x64 to 1088x1920 .* build it for them, or cut them: --tile"):
            engine.check_size(size)


@pytest.mark.parametrize("command", ["", "deblurrt build mprnet.onnx --batch 4"])
def test_more_frames_at_once_are_refused_with_the_command_that_builds_for_them(command: str) -> None:
    engine = EngineFile(Path("m.engine"), replace(ORIN, batch_max=4, command=command))
    for count in (1, 4):
        engine.check_batch(count)
    with pytest.raises(ContractError) as caught:
        engine.check_batch(6)
    said = str(caught.value)
    assert said.startswith(
        "6 frames come at once, m.engine takes 1 to 4; build it for them: deblurrt build mprnet.onnx"
    )
    assert (said.count("--batch"), said.endswith(" --batch 6")) == (1, True)
    assert " --batch 4 " in engine.rebuild()
    assert " --batch" not in EngineFile(Path("m.engine"), ORIN).rebuild()


def test_whole_engine_opens(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(b"plan")
    write_manifest(ORIN, path)
    assert open_engine(path) == EngineFile(path, ORIN)


@pytest.mark.fault("E3", "engine truncated, of another kind, not that of its manifest", "refused with the reason")
@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (b"pla", r"m.engine is cut short \(3 bytes of 4\); build it again: deblurrt build"),
        (b"plans", r"m.engine is not the one that was built \(5 bytes of 4\)"),
        (b"plaN", "m.engine is not the engine its manifest speaks of"),
    ],
)
def test_damaged_engine_is_refused(tmp_path: Path, plan: bytes, said: str) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(plan)
    write_manifest(ORIN, path)
    with pytest.raises(ModelFileError, match=said):
        open_engine(path)


def test_missing_engine_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no engine at .*; build one: deblurrt build MODEL -o m.engine"):
        open_engine(tmp_path / "m.engine")
