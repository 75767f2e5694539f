"""Optional packages: one way to import them, one error when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import MissingExtraError

#: import name -> extra of this package that installs it (``""``: part of the base install)
EXTRA_OF_MODULE = {
    "av": "",
    "numpy": "",
    "onnx": "",
    "onnxruntime": "",
    "PIL": "data",
    "aiohttp": "view",
    "cuda": "gpu",
    "cv2": "opencv",
    "h5py": "keras",
    "lpips": "lpips",
    "openvino": "cpu",
    "onnxscript": "export",
    "onnxslim": "convert",
    "polygraphy": "polygraphy",
    "safetensors": "convert",
    "tensorrt": "trt",
    "tensorrt_rtx": "rtx",
    "torch": "train",
    "zmq": "zmq",
}


def require(name: str, purpose: str) -> ModuleType:
    """Import the optional module ``name``, or say which extra brings it.

    Args:
        name: Import name, dotted names included (``"torch.nn.functional"``).
        purpose: What the module is needed for, as a verb phrase ("train a network").

    Raises:
        MissingExtraError: The module, or a library it needs, cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(_message(name, purpose, error)) from error


def _message(name: str, purpose: str, error: ImportError) -> str:
    package = name.partition(".")[0]
    extra = EXTRA_OF_MODULE.get(package)
    if extra is None:
        remedy = f"pip install {package}"
    else:
        remedy = f"pip install 'deblurrt[{extra}]'" if extra else "pip install --force-reinstall deblurrt"
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package:
        return f"{package} is needed to {purpose} and is not installed; install it: {remedy}"
    return f"{package} is needed to {purpose} and does not load ({error}); reinstall it: {remedy}"
