"""CARLO_NET: convolutions that shrink the picture, transposed ones that grow it back, and skips.

Mancini and Simonati, "Deep Image Deblurring", University of Bologna, 2020; after RED-Net (Mao et al.,
NIPS 2016).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from ..core.contract import FrameContract
from .keras_network import KerasLayers, KerasNetwork, kernel_shape
from .keras_weights import KerasWeights

#: layers on each side; each eats or grows a border of one pixel
DEPTH = 10


class CarloNet(KerasNetwork):
    """CARLO_NET; draws the picture itself and takes sides from 21 pixels. Nothing is padded: borders see fewer taps.

    Args:
        channels: Width.
    """

    output_layers = ("decoder.9",)

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.contract = FrameContract(min_size=2 * DEPTH + 1, halo_px=2 * DEPTH, io="float")
        widths = [3, *[channels] * DEPTH]
        self.encoder = nn.ModuleList(nn.Conv2d(widths[place], channels, 3) for place in range(DEPTH))
        self.decoder = nn.ModuleList(
            nn.ConvTranspose2d(channels, widths[DEPTH - 1 - place], 3) for place in range(DEPTH)
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Restore ``[batch, 3, height, width]``, sides from 21; the result is not negative."""
        kept = []
        x = frames
        for place, layer in enumerate(self.encoder):
            x = functional.relu(layer(x))
            if place % 2 == 0:
                kept.append(x)
        for place, layer in enumerate(self.decoder):
            x = functional.relu(layer(x))
            if place % 2 == 0:
                # neither summand is negative: the authors' second ReLU changes nothing
                x = x + kept.pop()
        return x

    def keras_layers(self) -> KerasLayers:
        """List the layers in the order Keras made them."""
        return KerasLayers(list(self.encoder), list(self.decoder))

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read the width off this class's own keys."""
        first, last = kernel_shape(state, "encoder.0.weight"), kernel_shape(state, f"decoder.{DEPTH - 1}.weight")
        if first[1:] != (3, 3, 3) or last[1:] != (3, 3, 3):
            return None
        return _options(first[0])

    @classmethod
    def options_of_keras(cls, weights: KerasWeights) -> dict[str, Any] | None:
        """Read the width off the kernels."""
        kernels, grown = weights.kernels(), weights.kernels("conv2d_transpose")
        if len(kernels) != DEPTH or len(grown) != DEPTH or kernels[0][:3] != (3, 3, 3):
            return None
        return _options(kernels[0][3])


def _options(channels: int) -> dict[str, Any]:
    return {} if channels == 128 else {"channels": channels}
