"""Flips and rotations of a picture, for NumPy arrays and torch tensors alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

PictureT = TypeVar("PictureT", bound=Any)
#: reverses an array along one axis: ``np.flip``, or ``lambda x, axis: torch.flip(x, [axis])``
Flip = Callable[[Any, int], Any]


@dataclass(frozen=True, slots=True)
class Symmetry:
    """Flips first, then the exchange of height and width.

    Attributes:
        flips_width: Whether left and right are exchanged.
        flips_height: Whether top and bottom are.
        transposes: Whether rows become columns.
    """

    flips_width: bool = False
    flips_height: bool = False
    transposes: bool = False

    def apply(self, picture: PictureT, flip: Flip, axes: tuple[int, int] = (-2, -1)) -> PictureT:
        """Transform ``picture``, whose height and width are the axes ``axes``; may be a view."""
        for is_flipped, axis in ((self.flips_width, axes[1]), (self.flips_height, axes[0])):
            picture = flip(picture, axis) if is_flipped else picture
        turned: PictureT = picture.swapaxes(*axes) if self.transposes else picture
        return turned

    def undo(self, picture: PictureT, flip: Flip, axes: tuple[int, int] = (-2, -1)) -> PictureT:
        """Turn a transformed picture back."""
        picture = picture.swapaxes(*axes) if self.transposes else picture
        for is_flipped, axis in ((self.flips_height, axes[0]), (self.flips_width, axes[1])):
            picture = flip(picture, axis) if is_flipped else picture
        return picture


#: all eight, in the order of EDSR's and WRCAN's self-ensemble
X8 = tuple(Symmetry(width, height, transposes) for transposes, height, width in product((False, True), repeat=3))
#: rotations by 0, 90, 180 and 270 degrees, EDPN's self-ensemble
X4 = (Symmetry(), Symmetry(True, False, True), Symmetry(True, True, False), Symmetry(False, True, True))
