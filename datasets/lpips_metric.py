"""LPIPS, the learned perceptual distance, where its package and its weights are installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import MissingExtraError
from ..core.optional import require

Pixels = NDArray[np.uint8]

#: the network and the version of its weights that NTIRE reports
NETWORK, VERSION = "alex", "0.1"
PURPOSE = "measure LPIPS"


def open_lpips() -> Callable[[Pixels, Pixels], float]:
    """Load LPIPS (AlexNet, version 0.1) on the CPU; nothing is downloaded.

    Returns:
        Measures the distance of two ``uint8 [height, width, 3]`` RGB pictures of one size, 0 for
        equal ones; smaller is better.

    Raises:
        MissingExtraError: The package or one of its two files of weights is missing.
    """
    lpips: Any = require("lpips", PURPOSE)
    torch: Any = require("torch", PURPOSE)
    for path in (_linear_weights(lpips), _network_weights(torch)):
        if not path.is_file():
            raise MissingExtraError(
                f"LPIPS needs the weights {path.name}, and {path.parent} does not hold them; put the file there "
                "(they are not downloaded by themselves)"
            )
    with warnings.catch_warnings():
        # lpips 0.1.4 asks torchvision for weights in a way torchvision calls deprecated.
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net=NETWORK, version=VERSION, verbose=False).eval()

    def measure(restored: Pixels, sharp: Pixels) -> float:
        with torch.inference_mode():
            return float(network(_tensor(torch, restored), _tensor(torch, sharp)))

    return measure


def _linear_weights(lpips: Any) -> Path:
    return Path(lpips.__file__).parent / "weights" / f"v{VERSION}" / f"{NETWORK}.pth"


def _network_weights(torch: Any) -> Path:
    """Where torchvision looks for AlexNet before it downloads it."""
    models: Any = require("torchvision.models", PURPOSE)
    name = str(models.AlexNet_Weights.IMAGENET1K_V1.url).rpartition("/")[2]
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def _tensor(torch: Any, pixels: Pixels) -> Any:
    """Turn a picture into ``float32 [1, 3, height, width]`` in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 127.5 - 1
