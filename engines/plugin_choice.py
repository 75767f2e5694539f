"""Whether our operators become plugins or standard operators in an engine.

Parsers of TensorRT disagree on which they take where a file has bodies and a plugin is loaded: before 10.7 always the
body, to 10.14 the plugin, from 10.15 on what the node says. So the builder gets one of them: with the library a copy of
the file without bodies, without it the file as it is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.artifacts import OnnxFile, read_header
from ..core.errors import MachineError, MissingExtraError, ModelFileError
from ..core.gpus import GpuFacts
from ..core.optional import require
from ..plugins.onnx_ops import strip_bodies, uses_plugins
from ..plugins.plugin_op import DOMAIN
from ..plugins.tensorrt_library import library_for
from .build_config import BuildConfig
from .shape_profile import size_to_fix
from .sized_graph import fix_frame_size

PURPOSE = "build an engine"

Say = Callable[[str], None]


def with_plugins(onnx_file: OnnxFile, config: BuildConfig, tensorrt: str, gpus: GpuFacts, say: Say) -> BuildConfig:
    """Add the library of our operators to a build that can use it; compiles it on first use.

    Args:
        onnx_file: What is built.
        config: Its choices; a library that is named there stays.
        tensorrt: Version of the builder.
        gpus: What it builds for.
        say: Told when the library is compiled, and why there is none.

    Raises:
        MachineError: There is no library, and the file has no bodies of standard operators either.
    """
    if config.backend != "tensorrt" or config.plugins or not gpus.gpus:
        return config
    model = read_header(onnx_file.path)
    ours = uses_plugins(model)
    if not ours:
        return config
    has_bodies = any(function.domain == DOMAIN for function in model.functions)
    try:
        if _is_bfloat16(model):
            raise MachineError("the kernels compute in float32 and float16, the file is of bfloat16")
        if not gpus.gpus[0].compute_capability:  # JetPack 6 without cuda-bindings
            raise MachineError(f"the compute capability of {gpus.gpus[0].name} is not known: pip install cuda-bindings")
        arch = f"sm{gpus.gpus[0].compute_capability.replace('.', '')}"
        return replace(config, plugins=(library_for(tensorrt, arch, say).path,))
    except MissingExtraError:
        raise
    except MachineError as error:
        if not has_bodies:
            raise MachineError(
                f"{onnx_file.path.name} has {', '.join(ours)} without bodies of standard operators, and there are no "
                f"plugins for them: {error}"
            ) from error
        say(f"{', '.join(ours)} become standard operators, slower and of more memory than plugins: {error}")
        return config


def graph_for_plugins(model: Any) -> Any:
    """Turn a model into the graph as a builder with our plugins sees it; changes the model."""
    stripped = strip_bodies(model)
    if not stripped.functions:
        return stripped
    return require("onnx.inliner", purpose=PURPOSE).inline_local_functions(stripped)


def file_for_builder(onnx_file: OnnxFile, config: BuildConfig, folder: Path) -> Path:
    """The file as the builder gets it: itself, or written into ``folder`` with weights that lie beside it.

    It has no bodies where there are plugins, and one size of frames where only their number is free.
    """
    size = size_to_fix(onnx_file, config)
    if not config.plugins and size is None:
        return onnx_file.path
    onnx = require("onnx", purpose=PURPOSE)
    path = folder / onnx_file.path.name
    model = read_header(onnx_file.path)
    if config.plugins:
        model = strip_bodies(model)
    if size is not None:
        with suppress(ModelFileError):  # a graph only the builder can read stays as it is
            model = fix_frame_size(model, size, onnx_file.path.parent)
    onnx.save(model, str(path))
    for location in onnx_file.weight_files:
        place = folder / location
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(onnx_file.path.parent / location, place)
        except OSError:
            shutil.copyfile(onnx_file.path.parent / location, place)
    return path


def _is_bfloat16(model: Any) -> bool:
    kind = require("onnx", purpose=PURPOSE).TensorProto.BFLOAT16
    return any(tensor.data_type == kind for tensor in model.graph.initializer)
