"""Where pairs of a blurred and a sharp picture come from.

Three forms of a folder are understood; in the last, folders that are neither are passed over:

* ``blur/`` beside ``sharp/``: a sequence, pictures of one name (without suffix) belong together;
* ``blur.png`` beside ``sharp.png``: a single pair;
* a folder of such folders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import SourceError
from ..core.pictures import is_picture, read_picture

Pixels = NDArray[np.uint8]

EXPECTED = "expected blur/ beside sharp/, blur.png beside sharp.png, or a folder of such folders"
#: names listed in an error before it says "and more"
LISTED = 6


@dataclass(frozen=True, slots=True)
class Pair:
    """A blurred picture and its sharp twin, still on disk.

    Attributes:
        name: Sequence and frame, ``reds_seq000/00000003``; a single pair has its folder's name.
        blurred: Path of the blurred picture.
        sharp: Path of the sharp picture.
    """

    name: str
    blurred: Path
    sharp: Path

    def read(self) -> tuple[Pixels, Pixels]:
        """Read the blurred and the sharp picture, each ``uint8 [height, width, 3]`` RGB.

        Raises:
            SourceError: A picture cannot be read, or their sizes differ.
        """
        blurred, sharp = read_picture(self.blurred), read_picture(self.sharp)
        if blurred.shape != sharp.shape:
            raise SourceError(
                f"pair {self.name}: {self.blurred} is {blurred.shape[0]}x{blurred.shape[1]}, "
                f"{self.sharp} is {sharp.shape[0]}x{sharp.shape[1]}; both need one size"
            )
        return blurred, sharp


@dataclass(frozen=True, slots=True)
class PairSequence:
    """Pairs of one recording, in order; a picture is read only when its pair is.

    Attributes:
        name: Name of its folder.
        pairs: At least one.
    """

    name: str
    pairs: tuple[Pair, ...]

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.pairs)

    def __iter__(self) -> Iterator[Pair]:
        """Go through the pairs in natural order of their names."""
        return iter(self.pairs)


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
    folders = sorted((path for path in root.iterdir() if path.is_dir()), key=natural_order)
    sequences = [sequence for sequence in map(_sequence, folders) if sequence is not None]
    if not sequences:
        raise SourceError(f"no pairs in {root}; {EXPECTED}; found {_listed(root)}")
    return sequences


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Sorting key of a path's name by which ``frame9`` comes before ``frame10``."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part) if part.isdecimal() else -1, part) for part in parts if part]


def _sequence(folder: Path) -> PairSequence | None:
    """Read a folder that is one sequence; None where it is neither form."""
    name = folder.resolve().name
    if (folder / "blur").is_dir():
        return PairSequence(name, tuple(_pairs_by_name(name, folder / "blur", folder / "sharp")))
    single = Pair(name, folder / "blur.png", folder / "sharp.png")
    if not single.blurred.is_file():
        return None
    if not single.sharp.is_file():
        raise SourceError(f"{single.blurred} has no partner: {single.sharp} is missing")
    return PairSequence(name, (single,))


def _pairs_by_name(name: str, blurred_folder: Path, sharp_folder: Path) -> Iterator[Pair]:
    if not sharp_folder.is_dir():
        raise SourceError(f"{blurred_folder} has no partner: the folder {sharp_folder} is missing")
    blurred, sharp = _pictures(blurred_folder), _pictures(sharp_folder)
    for lonely in sorted(blurred.keys() ^ sharp.keys()):
        present, lacking = (blurred[lonely], sharp_folder) if lonely in blurred else (sharp[lonely], blurred_folder)
        raise SourceError(f"{present} has no partner: {lacking} holds no picture named {lonely}")
    if not blurred:
        raise SourceError(f"no pictures in {blurred_folder}; found {_listed(blurred_folder)}")
    for stem, path in blurred.items():
        yield Pair(f"{name}/{stem}", path, sharp[stem])


def _pictures(folder: Path) -> dict[str, Path]:
    """Pictures of a folder by name without suffix, in natural order; hidden files are passed over."""
    pictures: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=natural_order):
        if path.name.startswith(".") or not is_picture(path) or not path.is_file():
            continue
        if path.stem in pictures:
            raise SourceError(f"{pictures[path.stem]} and {path.name} are one frame twice; remove one of them")
        pictures[path.stem] = path
    return pictures


def _listed(folder: Path) -> str:
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return ", ".join(names[:LISTED]) + (" and more" if len(names) > LISTED else "") or "nothing"
