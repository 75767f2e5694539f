"""What every network of the zoo needs and costs, known without making it; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..core.contract import FrameContract
from ..core.errors import UsageError


@dataclass(frozen=True, slots=True)
class MacCount:
    """Multiply-accumulates as a polynomial of the input's height and width, exact at allowed sizes.

    Attributes:
        per_pixel: Per input pixel, as a fraction ``(numerator, denominator)``.
        per_side: Per row and per column; not zero where convolutions have no padding.
        fixed: Whatever the size, such as the gates behind global pools.
    """

    per_pixel: tuple[int, int]
    per_side: int = 0
    fixed: int = 0

    def at(self, height: int, width: int) -> int:
        """Count for an input of this size, pixels."""
        numerator, denominator = self.per_pixel
        return numerator * height * width // denominator + self.per_side * (height + width) + self.fixed


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """One line of the zoo's table.

    Attributes:
        name: For ``create_model``, or a shipped model's.
        contract: What it needs of frames.
        parameters: Number of weights, those that nothing uses included.
        macs: Cost of one frame, as the authors wrote the network.
        source: Paper, where and when.
        options: With which it is made.
        ships: Whether its weights come with the package.
    """

    name: str
    contract: FrameContract
    parameters: int
    macs: MacCount
    source: str
    options: dict[str, Any] = field(default_factory=dict)
    ships: bool = False

    @property
    def label(self) -> str:
        """Name with the options, as in ``kaist_net(in_frames=3)``."""
        options = ", ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}({options})" if options else self.name

    def gmac(self, height: int, width: int) -> float:
        """Cost of restoring one picture of this size, thousand million multiply-accumulates.

        Args:
            height: Of the restored picture, pixels; the input is filled up to the network's multiple.
            width: Likewise.

        Raises:
            UsageError: The size is not a multiple of the network's scale.
        """
        scale, multiple = self.contract.scale, self.contract.multiple
        if height % scale or width % scale:
            raise UsageError(
                f"{height}x{width} is no multiple of {scale}, the scale of {self.name}; give another --size"
            )
        least = self.contract.min_size
        filled = (max(-(-length // scale // multiple) * multiple, least) for length in (height, width))
        return self.macs.at(*filled) / 1e9
