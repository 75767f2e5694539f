"""A model ready for frames: the backend under its contract, with preparation and warm-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np

from ..core.artifacts import OnnxFile, open_onnx
from ..core.contract import FrameContract
from ..core.engine_file import is_engine, open_engine
from ..core.errors import ContractError, ModelFileError
from ..core.tensors import Array, TensorSpec
from .backend import Backend, BackendConfig, cancel_run, open_backend
from .batch_limit import batch_max_of
from .frame import Pixels
from .picture_pool import PicturePool
from .shipped_models import find_model
from .tiling import TileConfig, check_tiles, tiled_backend


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """Which model, on what.

    Attributes:
        model: Shipped name or path of an ONNX file or an engine.
        backend: ``auto`` or a name of ``BACKENDS``.
        options: Precision, threads and provider.
        tile: How frames are cut that are too large for memory; None: not, unless the graph has a
            fixed size.
    """

    model: str | Path = "default"
    backend: str = "auto"
    options: BackendConfig = field(default_factory=BackendConfig)
    tile: TileConfig | None = None


class Session:
    """Restores pictures with one model; not to be used from two threads at once.

    Args:
        backend: Runs the graph.
        contract: What the graph needs of frames.
        model: Name for reports.

    Raises:
        ModelFileError: The graph's tensors are not those the contract promises.
    """

    def __init__(self, backend: Backend, contract: FrameContract, model: str = "model") -> None:
        check_graph(model, contract, backend.inputs, backend.outputs)
        self.backend, self.contract, self.model = backend, contract, model
        self._input, self._output = backend.inputs[0].name, backend.outputs[0].name
        self._pool = PicturePool()

    def restore(self, pixels: Pixels, previous: Pixels | None = None, following: Pixels | None = None) -> Pixels:
        """Restore one picture.

        Args:
            pixels: ``uint8 [height, width, 3]`` RGB, any size from 1x1.
            previous: The frame before, for networks that look at three; the picture itself if None.
            following: The frame after, likewise.

        Returns:
            Memory nobody else looks at, ``uint8 [height * scale, width * scale, 3]`` RGB.

        Raises:
            ContractError: The pictures are of another type or of different sizes.
            BackendError: The backend failed.
        """
        return self._restored([self._window(pixels, previous, following)])[0]

    def restore_batch(self, pictures: Sequence[Pixels], previous: Sequence[Pixels | None]) -> list[Pixels]:
        """Restore pictures of one size in one run of the network, as ``restore`` does one.

        Args:
            pictures: At least one, at most ``batch_max``; see ``restore``.
            previous: Of each picture the frame before; None likewise.

        Returns:
            One picture each, in this order; memory nobody else looks at.

        Raises:
            ContractError: The pictures are of another type or of different sizes, or too many.
            BackendError: The backend failed.
        """
        return self._restored([self._window(*pair) for pair in zip(pictures, previous, strict=True)])

    @property
    def batch_max(self) -> int | None:
        """Pictures one run takes; None for any number."""
        return batch_max_of(self.backend)

    def _window(self, pixels: Pixels, previous: Pixels | None, following: Pixels | None = None) -> list[Pixels]:
        """What the network looks at to restore one picture."""
        window = [pixels]
        if self.contract.window == 3:
            window = [previous if previous is not None else pixels, pixels]
            window.append(following if following is not None else pixels)
        for picture in window:
            check_picture(picture, pixels.shape)
        return window

    def _restored(self, windows: list[list[Pixels]]) -> list[Pixels]:
        shapes = sorted({window[0].shape[:2] for window in windows})
        if len(shapes) != 1:
            raise ContractError(f"the pictures of a batch are of the sizes {shapes}, expected one size")
        prepared = [prepare(window, self.contract) for window in windows]
        given = prepared[0] if len(prepared) == 1 else np.concatenate(prepared)
        restored = self.backend.run({self._input: given})[self._output]
        if len(restored) != len(windows):
            raise ContractError(f"the network gave {len(restored)} pictures, expected {len(windows)}")
        return [
            finish(restored[index : index + 1], self.contract, shapes[0], self._pool) for index in range(len(windows))
        ]

    def warm_up(self, size: tuple[int, int]) -> None:
        """Compile for frames of ``size`` (height, width) and run once."""
        blank = np.zeros((*size, 3), np.uint8)
        self.restore(blank)

    @property
    def description(self) -> str:
        """That of the backend."""
        return self.backend.description

    @property
    def lost_reason(self) -> str:
        """Empty: what runs in this process is lost with it."""
        return ""

    def cancel(self) -> bool:
        """Stop a run that another thread waits for, which raises ``BackendError`` there; whether the backend can."""
        return cancel_run(self.backend)

    def close(self) -> None:
        """Release the backend; closing twice is fine."""
        self.backend.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_session(model: str | Path = "default", config: SessionConfig | None = None) -> Session:
    """Open a shipped model or an ONNX file on the fastest backend of this machine, or an engine on its own.

    Args:
        model: ``default``, ``fast``, ``identity`` or a path.
        config: Backend, precision and threads; its own model is replaced by ``model``.

    Raises:
        ModelFileError: There is no such model, or its file is damaged or unfit.
        MachineError: No backend can run it here.
        UsageError: Tiles are asked for and would not equal the whole frame.
    """
    config = config or SessionConfig()
    if is_engine(model):
        return _engine_session(Path(model), config)
    path = find_model(model)
    onnx_file = open_onnx(path)
    contract = contract_of(onnx_file)
    check_graph(path.name, contract, onnx_file.inputs, onnx_file.outputs)
    check_tiles(onnx_file.inputs[0], contract, config.tile)
    backend = tiled_backend(open_backend(config.backend, onnx_file, config.options), contract, config.tile)
    return Session(backend, contract, str(model) if not isinstance(model, Path) else model.name)


def _engine_session(path: Path, config: SessionConfig) -> Session:
    engine = open_engine(path)
    contract = engine.manifest.contract
    backend = open_backend(config.backend, engine, config.options)
    try:
        check_graph(path.name, contract, backend.inputs, backend.outputs)
        return Session(tiled_backend(backend, contract, config.tile), contract, path.name)
    except BaseException:
        backend.close()
        raise


def contract_of(onnx_file: OnnxFile) -> FrameContract:
    """The file's contract.

    Raises:
        ModelFileError: It carries none.
    """
    if onnx_file.contract is None:
        taken = ", ".join(f"{spec.name} {spec.describe()}" for spec in onnx_file.inputs)
        raise ModelFileError(
            f"{onnx_file.path.name} does not say what it needs of frames (no contract in its metadata; it takes "
            f"{taken}); write it with deblurrt"
        )
    return onnx_file.contract


def check_graph(
    name: str, contract: FrameContract, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> None:
    """Refuse a graph whose tensors are not those the contract promises.

    Raises:
        ModelFileError: With the tensor found and the one expected.
    """
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelFileError(f"{name} has {len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
    for spec, window in ((inputs[0], contract.window), (outputs[0], 1)):
        wanted = _wanted_spec(spec.name, contract.io, window)
        axes = zip(spec.shape, wanted.shape, strict=False)
        is_fit = spec.dtype == wanted.dtype and len(spec.shape) == len(wanted.shape)
        if not is_fit or any(isinstance(length, int) and found != length for found, length in axes):
            raise ModelFileError(f"{name}: {spec.name!r} is {spec.describe()}, frames need {wanted.describe()}")


def _wanted_spec(name: str, io: str, window: int) -> TensorSpec:
    """Say what a tensor of ``window`` frames looks like; its named axes may have any length."""
    if io == "float":
        return TensorSpec(name, "float32", ("batch", 3 * window, "height", "width"))
    return TensorSpec(name, "uint8", ("batch", *([window] if window > 1 else []), "height", "width", 3))


def check_picture(pixels: Pixels, shape: tuple[int, ...]) -> None:
    """Refuse what is no picture of ``shape``.

    Raises:
        ContractError: With the type and shape found and expected.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ContractError(f"the picture is {pixels.dtype}{list(pixels.shape)}, expected uint8[height, width, 3]")
    if pixels.shape != shape:
        raise ContractError(f"a neighbouring frame is {list(pixels.shape)}, the frame itself {list(shape)}")


def prepare(window: list[Pixels], contract: FrameContract) -> Array:
    """Turn pictures of one size into the network's input; ``finish`` undoes it.

    Pictures smaller than ``min_size`` are filled up by repeating their edge. A ``uint8`` graph does
    everything else itself; for a ``float`` one the reflect padding to the multiple, the layout and
    the range are made here.
    """
    height, width = window[0].shape[:2]
    grow = [(0, max(contract.min_size - length, 0)) for length in (height, width)]
    if grow != [(0, 0), (0, 0)]:
        window = [np.pad(pixels, (*grow, (0, 0)), mode="edge") for pixels in window]
    if contract.io == "uint8":
        return np.stack(window)[None] if contract.window == 3 else window[0][None]
    fill = [(0, -length % contract.multiple) for length in window[0].shape[:2]]
    stacked = np.concatenate([np.pad(pixels, (*fill, (0, 0)), mode="reflect") for pixels in window], axis=2)
    # a product, as in a deployed graph: a quotient rounds otherwise, and half precision shows it
    unit = np.float32(1 / 255 if contract.range == "0..1" else 1)
    network_input: Array = np.ascontiguousarray(stacked.transpose(2, 0, 1)[None], np.float32) * unit
    return network_input


def finish(restored: Array, contract: FrameContract, size: tuple[int, int], pool: PicturePool | None = None) -> Pixels:
    """Turn the network's output into a ``uint8`` picture of ``size`` times the scale, in memory of ``pool`` or new.

    Raises:
        ContractError: The output is smaller than that.
    """
    height, width = size[0] * contract.scale, size[1] * contract.scale
    picture = restored[0] if contract.io == "uint8" else restored[0].transpose(1, 2, 0)
    if picture.shape[0] < height or picture.shape[1] < width:
        raise ContractError(f"the network gave {list(picture.shape)}, expected at least {[height, width, 3]}")
    picture = picture[:height, :width]
    finished = (pool or PicturePool()).empty(picture.shape)
    if contract.io == "uint8":
        np.copyto(finished, picture)
    else:
        gain = np.float32(255 if contract.range == "0..1" else 1)
        np.copyto(finished, np.rint(np.clip(picture * gain, 0, 255)), casting="unsafe")
    return finished
