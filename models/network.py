"""What every network of the zoo offers: a contract, one restored picture, and where its weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar

from torch import Tensor, nn

from ..core.contract import FrameContract
from .tlsc_config import TlscConfig


class DeblurNetwork(nn.Module):
    """Base of the networks of the papers.

    Takes ``float [batch, 3 * window, height, width]`` RGB in 0..1, height and width multiples of
    ``contract.multiple``; a window of three frames is previous, current, next along the channels.
    ``state_dict()`` has the keys and shapes of the authors' code, modules that nothing uses
    included; modules they share appear under each of their names.

    Attributes:
        architecture: Name in the zoo.
        options: What the network was made with; ``create_model(architecture, **options)`` makes it again.
        weights: Where its weights come from: ``initial`` (the authors' initialisation),
            ``random:SEED`` or the SHA-256 of a checkpoint.
        contract: What it needs of frames, with ``io="float"``.
        tlsc: How its global pools were replaced; None where they were not.
    """

    #: paths of the layers whose output becomes the picture, or its correction; random weights keep them small
    output_layers: ClassVar[tuple[str, ...]] = ()

    #: top-level modules the authors' code builds and never uses
    unused: tuple[str, ...] = ()

    architecture: str = ""
    weights: str = "initial"
    tlsc: TlscConfig | None = None
    contract: FrameContract
    options: dict[str, Any]

    def forward(self, frames: Tensor) -> Tensor:
        """Restore frames.

        Args:
            frames: ``float [batch, 3 * window, height, width]``, RGB in 0..1.

        Returns:
            ``float [batch, 3, height * scale, width * scale]``, not clamped.
        """
        raise NotImplementedError

    def forward_all(self, frames: Tensor) -> Any:
        """Return all that the authors' code returns, in its order; the restored picture alone unless said otherwise."""
        return self.forward(frames)

    def pool_scales(self) -> dict[str, tuple[Fraction, Fraction]]:
        """Size of the map of each global pool over the input's, by the pool's path, height first.

        Empty where nobody published TLSC for the network.
        """
        return {}

    @classmethod
    def options_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read the options off a state dict with the authors' keys; None if it is of another network."""
        raise NotImplementedError
