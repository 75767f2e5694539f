"""How data sets are laid out on disk, and how to tell them apart.

A new layout is two functions and one line in ``LAYOUTS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import SourceError, UsageError
from .cifar import BINARY_SUFFIX
from .pairs import folders_in, listed, natural_order, pictures_in
from .recordings import Recording

REDS_SPLITS = ("train", "val", "test")
#: what REDS calls its pictures, below the name of the split
REDS_FOLDERS = {"sharp": "sharp", "blur": "blur", "blur_jpeg": "blur_jpeg", "blur_x4": "blur_bicubic/X4"}
#: blurred pictures in the folder of a recording
FOLDERS = ("blur", "blur_jpeg", "blur_x4")
#: GOPRO, HIDE and CIFAR-10
TWO_SPLITS = ("train", "test")

#: files of CIFAR-10 by split, in the pickled form without a suffix
CIFAR_FILES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}


#: how far a root is looked for around a wrong one
LEVELS_ABOVE, FOLDERS_SEARCHED = 3, 50


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to lay out a data set.

    Attributes:
        name: For reports.
        splits: Names of its splits; none: it has no splits.
        is_at: Whether a folder is laid out like this.
        recordings: Lists the recordings of a split in a folder, in order.
        places: Where the pictures of the tracks ``blur``, ``blur_jpeg`` and ``blur_bicubic_x4``
            belong, with ``{split}``; none: it has sharp pictures alone.
    """

    name: str
    splits: tuple[str, ...]
    is_at: Callable[[Path], bool]
    recordings: Callable[[Path, str], list[Recording]]
    places: tuple[str, ...] = ()

    def place_of(self, track: str, split: str) -> str:
        """Where the pictures of a track belong, and what they could be made from, for messages."""
        blur, *others = (place.format(split=split) for place in self.places)
        if track == "blur" or not others:
            return blur
        return f"{others[0 if track == 'blur_jpeg' else 1]} (or {blur} to make it from)"


def recording_in(folder: Path) -> Recording | None:
    """Find the pictures of one recording in ``folder``; None where it is no such folder."""
    name = folder.resolve().name
    blurred = {kind: folder / kind for kind in FOLDERS if (folder / kind).is_dir()}
    if blurred or (folder / "sharp").is_dir():
        return _recording(name, folder / "sharp", blurred)
    blur, sharp = folder / "blur.png", folder / "sharp.png"
    if not (blur.is_file() or sharp.is_file()):
        return None
    return Recording(name, sharp, blur if blur.is_file() else None)


def _recording(name: str, sharp: Path, blurred: Mapping[str, Path]) -> Recording:
    return Recording(name, sharp, blurred.get("blur"), blurred.get("blur_jpeg"), blurred.get("blur_x4"))


def _recordings_below(folder: Path) -> list[Recording]:
    found = map(recording_in, folders_in(folder))
    return [recording for recording in found if recording is not None]


def _reds_place(root: Path, split: str, kind: str) -> Path | None:
    """Find the folder of the sequences of one kind; the first of its three places that holds any."""
    name = REDS_FOLDERS[kind]
    for place in (root / split / f"{split}_{name}", root / split / name, root / f"{split}_{name}"):
        if place.is_dir() and any(path.is_dir() for path in place.iterdir()):
            return place
    return None


def _is_reds(root: Path) -> bool:
    return any(_reds_place(root, split, kind) for split in REDS_SPLITS for kind in REDS_FOLDERS)


def _reds_recordings(root: Path, split: str) -> list[Recording]:
    places = {kind: place for kind in REDS_FOLDERS if (place := _reds_place(root, split, kind)) is not None}
    if not places:
        raise SourceError(f"REDS in {root} has no split {split!r}; found {listed(root)}{nearby(root)}")
    if "sharp" not in places:
        found = ", ".join(str(place.relative_to(root)) for place in places.values())
        if split == "test":
            raise UsageError(
                f"REDS publishes no sharp pictures of its test split (found {found}), so that nothing can be "
                "scored on it; take --split val"
            )
        raise SourceError(
            f"no sharp pictures of the split {split!r} in {root}: {split}/{split}_sharp is missing; found {found}"
        )
    sequences = {path.name: path for place in places.values() for path in folders_in(place)}
    return [
        _recording(
            path.name,
            places["sharp"] / path.name,
            {kind: place / path.name for kind, place in places.items() if (place / path.name).is_dir()},
        )
        for path in sorted(sequences.values(), key=natural_order)
    ]


def _is_hide(root: Path) -> bool:
    return (root / "GT").is_dir() and any((root / split).is_dir() for split in TWO_SPLITS)


def _hide_recordings(root: Path, split: str) -> list[Recording]:
    folder = _split_folder("HIDE", root, split)
    places = [place for place in (folder, *folders_in(folder)) if pictures_in(place)]
    # photographs of many scenes: neighbours by name have nothing to do with each other
    return [Recording(place.name, root / "GT", place, is_consecutive=False, has_spare_sharp=True) for place in places]


def _is_gopro(root: Path) -> bool:
    return any((root / split).is_dir() and bool(_recordings_below(root / split)) for split in TWO_SPLITS)


def _gopro_recordings(root: Path, split: str) -> list[Recording]:
    return _recordings_below(_split_folder("GOPRO", root, split))


def _split_folder(name: str, root: Path, split: str) -> Path:
    if not (root / split).is_dir():
        raise SourceError(f"{name} in {root} lacks the folder {split}; found {listed(root)}")
    return root / split


def _cifar_file(root: Path, stem: str) -> Path | None:
    return next((path for path in (root / f"{stem}{BINARY_SUFFIX}", root / stem) if path.is_file()), None)


def _is_cifar(root: Path) -> bool:
    return any(_cifar_file(root, stem) for stems in CIFAR_FILES.values() for stem in stems)


def _cifar_recordings(root: Path, split: str) -> list[Recording]:
    files = {stem: _cifar_file(root, stem) for stem in CIFAR_FILES[split]}
    lacking = [stem for stem, path in files.items() if path is None]
    if lacking:
        raise SourceError(f"CIFAR-10 in {root} lacks {', '.join(lacking)} of its {split} split; found {listed(root)}")
    return [
        Recording(stem, path, is_consecutive=False, is_cifar=True) for stem, path in files.items() if path is not None
    ]


def _are_pairs(root: Path) -> bool:
    return recording_in(root) is not None or bool(_recordings_below(root))


def _pair_recordings(root: Path, _split: str) -> list[Recording]:
    recording = recording_in(root)
    return _recordings_below(root) if recording is None else [recording]


def _sharp_folders(root: Path) -> Iterator[Path]:
    for folder in [root, *folders_in(root)]:
        if pictures_in(folder):
            yield folder
            if folder == root:
                return


def _is_sharp(root: Path) -> bool:
    return any(_sharp_folders(root))


def _sharp_recordings(root: Path, _split: str) -> list[Recording]:
    """Folders of pictures; those named by digits alone follow each other."""
    return [
        Recording(folder.resolve().name, folder, is_consecutive=all(stem.isdecimal() for stem in pictures_in(folder)))
        for folder in _sharp_folders(root)
    ]


#: in the order in which they are tried
LAYOUTS = (
    Layout(
        "reds",
        REDS_SPLITS,
        _is_reds,
        _reds_recordings,
        ("{split}/{split}_blur", "{split}/{split}_blur_jpeg", "{split}/{split}_blur_bicubic/X4"),
    ),
    Layout("hide", TWO_SPLITS, _is_hide, _hide_recordings, ("{split}/",)),
    Layout("gopro", TWO_SPLITS, _is_gopro, _gopro_recordings, tuple(f"{{split}}/SEQUENCE/{name}" for name in FOLDERS)),
    Layout("cifar10", TWO_SPLITS, _is_cifar, _cifar_recordings),
    Layout("pairs", (), _are_pairs, _pair_recordings, FOLDERS),
    Layout("sharp", (), _is_sharp, _sharp_recordings),
)
LAYOUTS_BY_NAME = {layout.name: layout for layout in LAYOUTS}


def layout_of(root: Path) -> Layout | None:
    """Recognise the layout of a folder; None where it is none of ``LAYOUTS``."""
    return next((layout for layout in LAYOUTS if layout.is_at(root)), None)


def root_nearby(folder: Path) -> tuple[Layout, Path] | None:
    """Find the data set that ``folder`` lies in or holds, up to three levels above and two below."""
    parent = folder.resolve().parent
    # the outermost first: REDS/val passes for a root as well, but of one split
    for place in reversed([parent, *parent.parents][:LEVELS_ABOVE]):
        layout = next((layout for layout in LAYOUTS if layout.splits and _is_readable_as(layout, place)), None)
        if layout is not None:
            return layout, place
    if recording_in(parent) is not None:
        return LAYOUTS_BY_NAME["pairs"], parent
    below = folders_in(folder)[:FOLDERS_SEARCHED]
    below += [inner for outer in below for inner in folders_in(outer)[:FOLDERS_SEARCHED]]
    for place in below:
        for layout in LAYOUTS:
            if layout.name != "sharp" and _is_readable_as(layout, place):
                return layout, place
    return None


def nearby(folder: Path) -> str:
    """End of an error message: where a data set lies around ``folder``; empty if nowhere."""
    found = root_nearby(folder)
    return "" if found is None else f"; the layout {found[0].name!r} is in {found[1]}, give --data {found[1]}"


def _is_readable_as(layout: Layout, place: Path) -> bool:
    """Whether ``place`` is laid out like this; what may not be looked into is not."""
    try:
        return layout.is_at(place)
    except (OSError, SourceError):
        return False
