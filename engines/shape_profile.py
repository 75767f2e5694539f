"""Which shapes an engine takes: smallest, typical and largest, of frames of any size and of several at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.artifacts import OnnxFile
from ..core.contract import FrameContract
from ..core.errors import ModelFileError, UsageError
from ..core.tensors import TensorSpec
from .build_config import BuildConfig, Shapes, Size
from .graph_sizes import sizes_at


def profile_of(onnx_file: OnnxFile, config: BuildConfig) -> dict[str, list[list[int]]]:
    """Smallest, typical and largest shape of the input; empty for a file of fixed shape.

    The number of frames at once runs from one to ``batch_max``, for which the engine is made fast.

    Raises:
        UsageError: A free size has no shapes, a fixed one has others, a frame is below the contract's least, or the
            file takes fewer frames at once.
    """
    spec, contract, shapes = onnx_file.inputs[0], _contract(onnx_file), config.shapes
    fixed, count = _fixed_size(spec, contract), spec.shape[0]
    if isinstance(count, int) and config.batch_max > 1:
        raise UsageError(
            f"{onnx_file.path.name} is fixed to {count} frame{'s' if count > 1 else ''} at once, asked for up to "
            f"{config.batch_max}; leave --batch out, or export the network for any: deblurrt export MODEL --dynamic"
        )
    if fixed is not None:
        _check_fixed(fixed, shapes)
        if isinstance(count, int):
            return {}
        return {spec.name: [[frames, *map(int, spec.shape[1:])] for frames in _counts(config)]}
    if shapes is None:
        raise UsageError(
            f"{onnx_file.path.name} takes frames of any size; say which: --size HxW or --shapes MIN/OPT/MAX"
        )
    if min(shapes.least) < contract.min_size:
        raise UsageError(f"the shapes are {shapes.describe()}, the network takes sides from {contract.min_size}")
    sizes = (shapes.least, shapes.best, shapes.most)
    counts = (count,) * 3 if isinstance(count, int) else _counts(config)
    return {spec.name: [[frames, *_shape(contract, size)] for frames, size in zip(counts, sizes, strict=True)]}


def sizes_of(onnx_file: OnnxFile, config: BuildConfig) -> tuple[Size, Size, Size]:
    """Smallest, typical and largest size of frames; one thrice for a file of fixed size.

    Raises:
        UsageError: As ``profile_of``.
    """
    profile_of(onnx_file, config)
    fixed = _fixed_size(onnx_file.inputs[0], _contract(onnx_file))
    if fixed is not None:
        return fixed, fixed, fixed
    assert config.shapes is not None
    return config.shapes.least, config.shapes.best, config.shapes.most


def size_to_fix(onnx_file: OnnxFile, config: BuildConfig) -> Size | None:
    """The size of all frames where only their number is free; None elsewhere, where builders need no help.

    Raises:
        UsageError: As ``profile_of``.
    """
    if config.batch_max == 1:
        return None
    least, _, most = sizes_of(onnx_file, config)
    return least if least == most else None


def check_batch(name: str, model: Any, size: Size, batch_max: int) -> None:
    """Refuse a graph that does not give a picture for each of several frames, whatever its input promises.

    Args:
        name: Of the file.
        model: ``onnx.ModelProto``; its first input takes frames.
        size: Height and width of frames, pixels.
        batch_max: Frames at once.

    Raises:
        ModelFileError: Inside, the graph is made for another number of frames.
    """
    if batch_max == 1:
        return
    remedy = "build it without --batch, or export the network again: deblurrt export MODEL --dynamic"
    try:
        sizes = sizes_at(model, size)
        alone = sizes.shapes[sizes.outputs[0]]
    except ModelFileError:  # a graph only the builder can read
        return
    try:
        sizes = sizes_at(model, size, batch=batch_max)
    except ModelFileError as error:
        raise ModelFileError(f"{name} cannot take {batch_max} frames at once: {error}; {remedy}") from error
    given = sizes.shapes[sizes.outputs[0]]
    if given != (batch_max * alone[0], *alone[1:]):
        raise ModelFileError(
            f"{name} gives {list(given)} for {batch_max} frames at once and {list(alone)} for one, expected "
            f"{[batch_max * alone[0], *alone[1:]]}; {remedy}"
        )


def _contract(onnx_file: OnnxFile) -> FrameContract:
    return onnx_file.contract or FrameContract(io="float")


def _counts(config: BuildConfig) -> Sequence[int]:
    """Fewest, typical and most frames at once."""
    return 1, config.batch_max, config.batch_max


def _fixed_size(spec: TensorSpec, contract: FrameContract) -> Size | None:
    tall, wide = spec.shape[-3:-1] if contract.io == "uint8" else spec.shape[-2:]
    if isinstance(tall, int) != isinstance(wide, int):
        raise ModelFileError(f"one side of the frames is free and one is fixed ({spec.describe()}); export it again")
    return (tall, wide) if isinstance(tall, int) and isinstance(wide, int) else None


def _check_fixed(fixed: Size, shapes: Shapes | None) -> None:
    if shapes is not None and {shapes.least, shapes.best, shapes.most} != {fixed}:
        raise UsageError(f"the file is fixed to {fixed[0]}x{fixed[1]}, asked for {shapes.describe()}")


def _shape(contract: FrameContract, size: Size) -> list[int]:
    """A frame of ``size`` as the input takes it, behind the number of frames; the bare network takes multiples."""
    if contract.io == "uint8":
        return [*([contract.window] if contract.window > 1 else []), *size, 3]
    multiple = contract.multiple
    return [3 * contract.window, *(-(-side // multiple) * multiple for side in size)]
