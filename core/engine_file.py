"""An engine on disk: refused before it is loaded, when it is not what was built or does not fit this machine."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from .artifacts import sha256_of
from .errors import ContractError, MachineError, ModelFileError
from .manifest import EngineManifest, read_manifest

#: how names of engines end
ENGINE_SUFFIXES = (".engine", ".plan")
#: types a network can be exported in
NETWORK_PRECISIONS = {"fp32", "fp16", "bf16"}
#: what engines of TensorRT-RTX run on when they were built for no target in particular
RTX_PORTABLE = ("8.0", "8.6", "8.9", "12.0", "12.1")


@dataclass(frozen=True, slots=True)
class Host:
    """What an engine has to fit.

    Attributes:
        tensorrt: Version of TensorRT of the engine's flavour; empty: not installed.
        compute_capability: Of the GPU, ``8.7``; empty: there is none.
        gpu: Its name.
    """

    tensorrt: str = ""
    compute_capability: str = ""
    gpu: str = ""


@dataclass(frozen=True, slots=True)
class EngineFile:
    """An engine and what its manifest says.

    Attributes:
        path: Of the plan.
        manifest: Beside it.
    """

    path: Path
    manifest: EngineManifest

    def check_fits(self, host: Host) -> None:
        """Refuse an engine of another version or GPU, before its library sees it.

        Raises:
            MachineError: With the cause and the command that builds it for this machine.
        """
        misfit = self.misfit(host)
        if misfit is None:
            return
        remedy = f"build it: {self.rebuild()}"
        if not host.tensorrt or not host.gpu:
            remedy = "deblurrt doctor says what is missing"
        raise MachineError(f"{self.path.name} does not fit this machine: {misfit}; {remedy}")

    def misfit(self, host: Host) -> str | None:
        """Say what does not fit; None where all does."""
        manifest = self.manifest
        if not host.tensorrt:
            return f"it needs {manifest.backend} {manifest.tensorrt}, which is not installed"
        if host.tensorrt != manifest.tensorrt:
            return f"it was built with {manifest.backend} {manifest.tensorrt}, here is {host.tensorrt}"
        if not host.gpu:
            return "it needs a GPU, and none was found"
        return self._gpu_misfit(host)

    def _gpu_misfit(self, host: Host) -> str | None:
        manifest, got = self.manifest, host.compute_capability
        if manifest.backend == "tensorrt-rtx":
            wanted = tuple(f"{target[2:-1]}.{target[-1]}" for target in manifest.targets) or RTX_PORTABLE
            built = f"it runs on compute capability {', '.join(wanted)}"
        else:
            # empty where it could not be told at the build, as on JetPack 6 without cuda-bindings: TensorRT judges
            wanted = (manifest.compute_capability or got,)
            built = f"it was built on {manifest.gpu} of compute capability {manifest.compute_capability}"
        if got in wanted:
            return None
        return f"{built}, {host.gpu} has {got or 'one that is not known (pip install cuda-bindings)'}"

    def check_size(self, size: tuple[int, int]) -> None:
        """Refuse frames the engine was not built for.

        Raises:
            MachineError: With the sizes it takes.
        """
        least, best, most = self.manifest.shapes
        if any(side < small or side > large for side, small, large in zip(size, least, most, strict=True)):
            taken = " to ".join(dict.fromkeys(f"{height}x{width}" for height, width in (least, most)))
            raise MachineError(
                f"frames are {size[0]}x{size[1]}, {self.path.name} takes {taken} (made fast for {best[0]}x{best[1]}); "
                f"build it for them, or cut them: --tile {best[0]}x{best[1]}"
            )

    def check_batch(self, count: int) -> None:
        """Refuse more frames at once than the engine was built for.

        Raises:
            ContractError: With what it takes.
        """
        most = self.manifest.batch_max
        if not 1 <= count <= most:
            command = self.rebuild().replace(f" --batch {most}", "")
            raise ContractError(
                f"{count} frames come at once, {self.path.name} takes {f'1 to {most}' if most > 1 else 'one'}; "
                f"build it for them: {command} --batch {max(count, 1)}"
            )

    def rebuild(self) -> str:
        """The command that builds the engine again, in its place."""
        manifest, place = self.manifest, shlex.quote(str(self.path))
        if manifest.command:
            return f"{manifest.command} -o {place} --force"
        least, best, most = (f"{height}x{width}" for height, width in manifest.shapes)
        sizes = f"--size {best}" if least == best == most else f"--shapes {least}/{best}/{most}"
        sizes += f" --batch {manifest.batch_max}" if manifest.batch_max > 1 else ""
        # an ONNX file brings its types along
        types = set(manifest.precision) & NETWORK_PRECISIONS if not manifest.model.endswith(".onnx") else set()
        precision = f" --precision {max(types, key=lambda name: manifest.precision[name])}" if types else ""
        model = shlex.quote(manifest.model)
        return f"deblurrt build {model} --backend {manifest.backend} {sizes}{precision} -o {place} --force"


def is_engine(path: str | Path) -> bool:
    """Whether a path is that of an engine, by its name."""
    return Path(path).suffix in ENGINE_SUFFIXES


def open_engine(path: Path) -> EngineFile:
    """Read an engine's manifest and make sure that the engine is the one it speaks of; nothing is run.

    Raises:
        ModelFileError: There is no engine or no manifest, or the engine is cut short, changed, or of another kind.
    """
    if not path.is_file():
        raise ModelFileError(f"no engine at {path}; build one: deblurrt build MODEL -o {path.name}")
    engine = EngineFile(path, read_manifest(path))
    size, expected = path.stat().st_size, engine.manifest.plan_bytes
    if size != expected:
        what = "cut short" if size < expected else "not the one that was built"
        raise ModelFileError(f"{path.name} is {what} ({size} bytes of {expected}); build it again: {engine.rebuild()}")
    digest = sha256_of([path])
    if digest != engine.manifest.plan_sha256:
        raise ModelFileError(
            f"{path.name} is not the engine its manifest speaks of (SHA-256 {digest[:12]}…, expected "
            f"{engine.manifest.plan_sha256[:12]}…); build it again: {engine.rebuild()}"
        )
    return engine
