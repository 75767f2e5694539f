"""ONNX to TensorRT engines: build, cache, describe, trust.

Example:
    >>> from pathlib import Path
    >>> from deblurrt.core.artifacts import open_onnx
    >>> from deblurrt.engines import BuildConfig, Shapes, engine_from_onnx
    >>> config = BuildConfig("tensorrt-rtx", shapes=Shapes((64, 64), (720, 1280), (1088, 1920)))
    >>> result = engine_from_onnx(open_onnx(Path("mprnet.onnx")), config, Path("mprnet.engine"))
    >>> result.engine.manifest.precision  # what its convolutions compute in
"""

from __future__ import annotations

from .build_config import BuildConfig, Shapes
from .engine_build import EngineResult, engine_from_onnx

__all__ = ["BuildConfig", "EngineResult", "Shapes", "engine_from_onnx"]
