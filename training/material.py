"""What lies in the data folders: stills, sharp clips, real pairs, videos, and what is kept out.

A folder is understood by its content:

* ``blur/`` beside ``sharp/`` (and ``blur_x4/`` beside ``sharp_x4/``): real pairs by file name;
* ``blur.png`` beside ``sharp.png``: a single real pair, always kept out for validation;
* pictures named by digits alone, one size: consecutive frames of a sharp clip;
* any other pictures: stills; ``.mp4``, ``.mov``, ``.mkv``: videos.

The last ``HELD_OUT_FRAMES`` frames of every sequence of pairs and of every clip are kept out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import InputError
from ..core.pictures import is_picture
from ..datasets.pairs import Pair, natural_order

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv"})
HELD_OUT_FRAMES = 2
#: shortest sequence from which frames can be kept out and enough remain
SHORTEST_CLIP = 6


@dataclass(slots=True)
class Material:
    """Everything found under the data folders.

    Attributes:
        stills: Sharp single pictures.
        clips: Sharp consecutive frames, in order, held-out frames removed.
        videos: Video files.
        pairs: Real pairs to train on.
        validation: Real pairs kept out.
        held_out_clips: Per clip the last frames, to make a validation exposure from.
    """

    stills: list[Path] = field(default_factory=list)
    clips: list[list[Path]] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    validation: list[Pair] = field(default_factory=list)
    held_out_clips: list[list[Path]] = field(default_factory=list)

    def files(self) -> list[Path]:
        """Every file trained on, sorted."""
        used = {path for clip in self.clips for path in clip} | {*self.stills, *self.videos}
        used |= {path for pair in self.pairs for path in (pair.blurred, pair.sharp)}
        return sorted(used)


def find_material(roots: Iterable[Path]) -> Material:
    """Look through ``roots`` and sort what is there.

    Raises:
        InputError: A folder is missing, or nothing sharp was found in any of them.
    """
    material = Material()
    for root in roots:
        if not root.is_dir():
            raise InputError(f"no data folder at {root}; give an existing one with --data")
        for folder in [root, *sorted(path for path in root.rglob("*") if path.is_dir())]:
            _sort_folder(folder, material)
    if not (material.stills or material.clips):
        raise InputError(
            "no sharp pictures in the data folders; expected stills (.png, .jpg), a folder of frames "
            "named by digits, or blur/ beside sharp/"
        )
    return material


def _sort_folder(folder: Path, material: Material) -> None:
    if folder.name in {"blur", "blur_x4", "sharp_x4"}:
        return
    for suffix in ("", "_x4"):
        if (folder / f"blur{suffix}").is_dir() and (folder / f"sharp{suffix}").is_dir():
            pairs = list(_pairs(folder, suffix))
            keep = len(pairs) - HELD_OUT_FRAMES if len(pairs) >= SHORTEST_CLIP else len(pairs)
            material.pairs += pairs[:keep]
            material.validation += pairs[keep:] if not suffix else []
    if (folder / "blur.png").is_file() and (folder / "sharp.png").is_file():
        material.validation.append(Pair(folder.name, folder / "blur.png", folder / "sharp.png"))
        return
    files = sorted(path for path in folder.iterdir() if path.is_file())
    material.videos += [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    pictures = [path for path in files if is_picture(path)]
    if len(pictures) >= SHORTEST_CLIP and all(path.stem.isdigit() for path in pictures):
        is_paired = folder.name == "sharp"
        kept_out = HELD_OUT_FRAMES + (0 if is_paired else 1)
        pictures.sort(key=natural_order)
        material.clips.append(pictures[:-kept_out])
        if not is_paired:
            material.held_out_clips.append(pictures[-kept_out:])
    else:
        judged = {pair.sharp for pair in material.validation}
        material.stills += [path for path in pictures if path not in judged]


def _pairs(folder: Path, suffix: str) -> Iterator[Pair]:
    for blurred in sorted((folder / f"blur{suffix}").iterdir(), key=natural_order):
        sharp = folder / f"sharp{suffix}" / blurred.name
        if is_picture(blurred) and sharp.is_file():
            yield Pair(f"{folder.name}{suffix}/{blurred.stem}", blurred, sharp)
