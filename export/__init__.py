"""From PyTorch networks to ONNX files that carry their contract.

Example:
    >>> from pathlib import Path
    >>> from deblurrt.export import ExportConfig, onnx_from_model
    >>> from deblurrt.models import create_model
    >>> file = onnx_from_model(create_model("eacd"), ExportConfig(precision="fp16"), Path("eacd.onnx"))
    >>> file.contract.multiple  # pixels
"""

from __future__ import annotations

from .export_config import ExportConfig
from .onnx_export import onnx_from_model

__all__ = ["ExportConfig", "onnx_from_model"]
