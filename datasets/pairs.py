"""Where pairs of a blurred and a sharp picture come from.

Three forms of a folder are understood; in the last, folders that are neither are passed over:

* ``blur/`` beside ``sharp/``: a sequence, pictures of one name (without suffix) belong together;
* ``blur.png`` beside ``sharp.png``: a single pair;
* a folder of such folders.

Data sets with splits and tracks are opened by ``dataset.open_dataset``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ContractError, SourceError, UsageError
from ..core.pictures import is_picture, read_picture
from .degradations import Degradation

Pixels = NDArray[np.uint8]
#: blurred and sharp file by name without suffix
Matched = dict[str, tuple[Path, Path]]

#: which frames of a sequence are scored: each; those at places 0, 10, 20 …; those whose name ends in 9
FrameChoice = Literal["all", "every10", "ends9"]

EXPECTED = "expected blur/ beside sharp/, blur.png beside sharp.png, or a folder of such folders"
#: names listed in an error before it says "and more"
LISTED = 6


@dataclass(frozen=True, slots=True)
class Pair:
    """A blurred picture and its sharp twin, still on disk.

    Attributes:
        name: Sequence and frame, ``reds_seq000/00000003``; a single pair has its folder's name.
        blurred: File of the blurred picture, or of the one it is made from.
        sharp: File of the sharp picture.
        scale: How many times larger the sharp picture is.
        degradation: Makes the blurred picture of what ``blurred`` holds; None: it is there already.
        crop: Height and width that are kept of the middle, in pixels of the sharp picture; None: all.
        reader: Reads either file.
    """

    name: str
    blurred: Path
    sharp: Path
    scale: int = 1
    degradation: Degradation | None = None
    crop: tuple[int, int] | None = None
    reader: Callable[[Path], Pixels] = read_picture

    def read(self) -> tuple[Pixels, Pixels]:
        """Read the blurred and the sharp picture, each ``uint8 [height, width, 3]`` RGB.

        Raises:
            SourceError: A picture cannot be read, or their sizes do not fit the scale.
            ContractError: The crop is larger than the picture.
        """
        return self.beside_truth(self.read_whole_input())

    def read_whole_input(self) -> Pixels:
        """Read or make the blurred picture, not cropped."""
        stored = self.reader(self.blurred)
        return stored if self.degradation is None else self.degradation(stored, self.name)

    def beside_truth(self, whole_input: Pixels) -> tuple[Pixels, Pixels]:
        """Read the sharp picture for a blurred one read before; both cropped.

        Raises:
            SourceError: As ``read``.
            ContractError: As ``read``.
        """
        sharp, scale = self.reader(self.sharp), self.scale
        size = (whole_input.shape[0], whole_input.shape[1])
        if sharp.shape[:2] != (size[0] * scale, size[1] * scale):
            made = "" if self.degradation is None else "what is made of "
            wanted = "both need one size" if scale == 1 else f"the sharp one needs {scale} times the size"
            raise SourceError(
                f"pair {self.name}: {made}{self.blurred} is {size[0]}x{size[1]}, "
                f"{self.sharp} is {sharp.shape[0]}x{sharp.shape[1]}; {wanted}"
            )
        return self.cropped(whole_input), self._cut(sharp, self.scale)

    def cropped(self, whole_input: Pixels) -> Pixels:
        """Cut the blurred picture as ``crop`` says; perhaps the same array."""
        return self._cut(whole_input, 1)

    def _cut(self, pixels: Pixels, scale: int) -> Pixels:
        """Keep the middle; the corner is found on the blurred picture, so that both stay aligned.

        Args:
            pixels: The blurred picture or the sharp one.
            scale: How many times larger than the blurred picture ``pixels`` is.
        """
        if self.crop is None:
            return pixels
        height, width = self.crop[0] // self.scale, self.crop[1] // self.scale
        spare = pixels.shape[0] // scale - height, pixels.shape[1] // scale - width
        if min(spare) < 0:
            times = self.scale // scale
            raise ContractError(
                f"the crop {self.crop[0]}x{self.crop[1]} is larger than {self.name}, "
                f"{pixels.shape[0] * times}x{pixels.shape[1] * times}; choose a smaller one"
            )
        top, left = spare[0] // 2 * scale, spare[1] // 2 * scale
        return np.ascontiguousarray(pixels[top : top + height * scale, left : left + width * scale])


@dataclass(frozen=True, slots=True)
class PairSequence:
    """Pairs of one recording, in order; a picture is read only when its pair is.

    Its length and its iteration are those of the scored pairs; the others stay as neighbours.

    Attributes:
        name: Name of its folder.
        pairs: All of them, at least one.
        places: Which of ``pairs`` are scored, rising; None: all.
        is_consecutive: Whether neighbours in ``pairs`` are neighbours in time, not separate pictures.
    """

    name: str
    pairs: tuple[Pair, ...]
    places: tuple[int, ...] | None = None
    is_consecutive: bool = True

    def __len__(self) -> int:
        """Count the scored pairs."""
        return len(self.scored_places)

    def __iter__(self) -> Iterator[Pair]:
        """Go through the scored pairs in natural order of their names."""
        return (self.pairs[place] for place in self.scored_places)

    @property
    def scored_places(self) -> tuple[int, ...]:
        """Places in ``pairs`` of the scored ones."""
        return tuple(range(len(self.pairs))) if self.places is None else self.places

    def choose(self, frames: FrameChoice) -> PairSequence:
        """Score only some of all pairs; perhaps none is left.

        Raises:
            UsageError: There is no such choice.
        """
        if frames not in get_args(FrameChoice):
            raise UsageError(f"no choice of frames {frames!r}; it is one of {', '.join(get_args(FrameChoice))}")
        if frames == "all":
            return replace(self, places=None)
        if frames == "every10":
            return replace(self, places=tuple(range(0, len(self.pairs), 10)))
        return replace(self, places=tuple(i for i, pair in enumerate(self.pairs) if pair.name.endswith("9")))

    def without(self, names: Container[str]) -> PairSequence:
        """Leave out pairs of these names, which are scored already; they stay as neighbours."""
        return replace(self, places=tuple(i for i in self.scored_places if self.pairs[i].name not in names))

    def crop_to(self, size: tuple[int, int]) -> PairSequence:
        """Keep the middle of every picture.

        Args:
            size: Height and width, in pixels of the sharp pictures.

        Raises:
            UsageError: A side is no positive multiple of the scale.
        """
        scale = self.pairs[0].scale
        if min(size) < 1 or size[0] % scale or size[1] % scale:
            raise UsageError(f"the crop is {size[0]}x{size[1]}, expected positive multiples of the scale {scale}")
        return replace(self, pairs=tuple(replace(pair, crop=size) for pair in self.pairs))


def open_pairs(root: Path) -> list[PairSequence]:
    """Find the sequences of pairs in ``root``, in natural order; no picture is read yet.

    Raises:
        SourceError: ``root`` is no folder, holds no pairs, or a picture lacks its partner.
    """
    if not root.is_dir():
        raise SourceError(f"no folder of pairs at {root}; {EXPECTED}")
    found = _sequence(root)
    if found is not None:
        return [found]
    sequences = [sequence for sequence in map(_sequence, folders_in(root)) if sequence is not None]
    if not sequences:
        raise SourceError(f"no pairs in {root}; {EXPECTED}; found {listed(root)}")
    return sequences


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sorting key of a path's name by which ``frame9`` comes before ``frame10``."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part) if part.isdecimal() else -1, part) for part in parts if part]


def folders_in(folder: Path) -> list[Path]:
    """Folders directly in ``folder``, in natural order."""
    return sorted((path for path in folder.iterdir() if path.is_dir()), key=natural_order)


def pictures_in(place: Path) -> dict[str, Path]:
    """Pictures of a folder by name without suffix, in natural order; hidden files are passed over.

    A file in place of a folder is the only picture there, its name is empty.

    Raises:
        SourceError: Two files have one name but for the suffix.
    """
    if place.is_file():
        return {"": place}
    pictures: dict[str, Path] = {}
    for path in sorted(place.iterdir(), key=natural_order):
        if path.name.startswith(".") or not is_picture(path) or not path.is_file():
            continue
        if path.stem in pictures:
            raise SourceError(f"{pictures[path.stem]} and {path.name} are one frame twice; remove one of them")
        pictures[path.stem] = path
    return pictures


def match_pictures(blurred_place: Path, sharp_place: Path, *, has_spare_sharp: bool = False) -> Matched:
    """Blurred and sharp file by name without suffix, in natural order.

    Args:
        blurred_place: A folder, or a single picture.
        sharp_place: The same.
        has_spare_sharp: Whether sharp pictures without a blurred one are passed over.

    Raises:
        SourceError: A picture lacks its partner, or there is none at all.
    """
    if not sharp_place.exists():
        kind = "" if sharp_place.suffix else "the folder "
        raise SourceError(f"{blurred_place} has no partner: {kind}{sharp_place} is missing")
    blurred, sharp = pictures_in(blurred_place), pictures_in(sharp_place)
    _check_partners(blurred, sharp, blurred_place, sharp_place, has_spare_sharp)
    if not blurred:
        raise SourceError(f"no pictures in {blurred_place}; found {listed(blurred_place)}")
    return {stem: (path, sharp[stem]) for stem, path in blurred.items()}


def _check_partners(
    blurred: Mapping[str, Path], sharp: Mapping[str, Path], blurred_place: Path, sharp_place: Path, has_spare: bool
) -> None:
    for lonely in sorted(blurred.keys() - sharp.keys() if has_spare else blurred.keys() ^ sharp.keys()):
        present, lacking = (blurred[lonely], sharp_place) if lonely in blurred else (sharp[lonely], blurred_place)
        raise SourceError(f"{present} has no partner: {lacking} holds no picture named {lonely}")


def listed(folder: Path) -> str:
    """Say what lies in ``folder``, the first names only."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return ", ".join(names[:LISTED]) + (" and more" if len(names) > LISTED else "") or "nothing"


def frame_name(sequence: str, stem: str) -> str:
    """Name of a pair: sequence and frame, or the sequence alone where it is a single picture."""
    return f"{sequence}/{stem}" if stem else sequence


def _sequence(folder: Path) -> PairSequence | None:
    """Read a folder that is one sequence; None where it is neither form."""
    name = folder.resolve().name
    blurred, sharp = folder / "blur", folder / "sharp"
    if not blurred.is_dir():
        blurred, sharp = folder / "blur.png", folder / "sharp.png"
        if not blurred.is_file():
            return None
    matched = match_pictures(blurred, sharp)
    return PairSequence(name, tuple(Pair(frame_name(name, stem), *files) for stem, files in matched.items()))
