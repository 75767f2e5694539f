"""Data sets: found by their layout, on a track, ready to be scored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.errors import SourceError, UsageError
from .layouts import Layout, layout_of, nearby
from .pairs import EXPECTED, FrameChoice, PairSequence, listed
from .recordings import AVERAGED_FRAMES, FROM_SHARP, Recording, Track, TrackConfig, sequence_of

#: sequences of a whole split of REDS, frames of each
REDS_SEQUENCES = {"train": 240, "val": 30, "test": 30}
REDS_FRAMES = 100

ROOTS = "a root of REDS, GOPRO, HIDE or CIFAR-10, or a folder of sharp pictures (docs/datasets.md)"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Sequences of pairs on one track; no picture is read before its pair is.

    Attributes:
        layout: ``reds``, ``gopro``, ``hide``, ``cifar10``, ``pairs`` or ``sharp``.
        track: Which degradation.
        split: Which part; empty where the layout has none.
        scale: How many times larger than the blurred the sharp pictures are.
        sequences: At least one, each with a scored frame.
        notes: What a reader of the scores should know, a sentence each.
    """

    layout: str
    track: Track
    split: str
    scale: int
    sequences: tuple[PairSequence, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Count the scored frames."""
        return sum(map(len, self.sequences))

    def __iter__(self) -> Iterator[PairSequence]:
        """Go through the sequences in natural order of their names."""
        return iter(self.sequences)

    def choose(self, frames: FrameChoice) -> Dataset:
        """Score only some frames; the others stay as neighbours.

        Raises:
            UsageError: There is no such choice, or it leaves no frame.
        """
        chosen = tuple(sequence.choose(frames) for sequence in self.sequences)
        kept = tuple(sequence for sequence in chosen if len(sequence))
        if not kept:
            raise UsageError(f"none of the {len(self)} frames is left by the choice {frames!r}; take --frames all")
        notes = [] if frames == "all" else [f"frames: {frames}, {sum(map(len, kept))} of {len(self)}"]
        if len(kept) < len(chosen):
            notes.append(f"{len(chosen) - len(kept)} of {len(chosen)} sequences have no such frame")
        return replace(self, sequences=kept, notes=(*self.notes, *notes))

    def crop_to(self, size: tuple[int, int]) -> Dataset:
        """Keep the middle of every picture, neighbours included.

        Args:
            size: Height and width, in pixels of the sharp pictures: (704, 1280) for MPRNet-SR.

        Raises:
            UsageError: A side is no positive multiple of the scale.
        """
        sequences = tuple(sequence.crop_to(size) for sequence in self.sequences)
        note = f"pictures are cropped to their middle {size[0]}x{size[1]}"
        return replace(self, sequences=sequences, notes=(*self.notes, note))

    def fingerprint(self) -> str:
        """Hash what is scored and how: names, degradations, crops and sizes of files (not their content)."""
        digest = hashlib.sha256(f"{self.layout} {self.track} {self.split} {self.scale}".encode())
        sizes: dict[Path, int] = {}
        for sequence in self.sequences:
            digest.update(f"\n{sequence.name} {sequence.scored_places}".encode())
            for pair in sequence.pairs:
                for path in (pair.blurred, pair.sharp):
                    if path not in sizes:
                        sizes[path] = path.stat().st_size
                made = pair.degradation.note if pair.degradation else ""
                facts = (pair.name, sizes[pair.blurred], sizes[pair.sharp], made, pair.crop)
                digest.update(f"\n{facts}".encode())
        return digest.hexdigest()


def open_dataset(
    root: Path | str,
    track: Track = "blur",
    split: str = "val",
    *,
    averaged_frames: int = AVERAGED_FRAMES,
    seed: int = 0,
) -> Dataset:
    """Recognise the data set at ``root`` and pair up one of its splits on a track.

    What ``blur_jpeg`` and ``blur_bicubic_x4`` lack is made from ``blur``; ``gaussian`` and
    ``averaged`` are made from the sharp pictures. The notes say what was made.

    Args:
        root: Folder; docs/datasets.md lists the layouts.
        track: ``blur``, ``blur_jpeg``, ``blur_bicubic_x4``, ``gaussian`` or ``averaged``.
        split: ``train``, ``val`` or ``test``; not looked at where the layout has no splits.
        averaged_frames: How many frames ``averaged`` takes the mean of, odd.
        seed: Of the draws of ``gaussian``.

    Raises:
        SourceError: ``root`` holds no known data set, or a folder or a picture of it is missing.
        UsageError: The data set has no such split or track.
    """
    root, config = Path(root), TrackConfig(track, averaged_frames, seed)
    if not root.is_dir():
        raise SourceError(f"no data folder at {root}; give an existing one with --data")
    try:
        return _open(root, config, split)
    except OSError as error:
        raise SourceError(f"{error.filename or root} cannot be read ({error.strerror}); check permissions") from error


def _open(root: Path, config: TrackConfig, split: str) -> Dataset:
    layout = layout_of(root)
    if layout is None:
        raise SourceError(f"no data set in {root}; {EXPECTED}, or {ROOTS}; found {listed(root)}{nearby(root)}")
    _check_split(root, layout, split)
    recordings = layout.recordings(root, split)
    found = [sequence_of(recording, config) for recording in recordings]
    sequences = tuple(sequence for sequence in found if sequence is not None)
    if not sequences:
        raise _nothing_found(root, layout, split, config, recordings)
    notes = (
        *_made(sequences, config.track),
        *_left_out(recordings, config),
        *_incomplete(layout, split, config, sequences),
    )
    return Dataset(layout.name, config.track, split if layout.splits else "", config.scale, sequences, notes)


def _check_split(root: Path, layout: Layout, split: str) -> None:
    if layout.splits and split not in layout.splits:
        raise UsageError(
            f"{layout.name} in {root} has the splits {', '.join(layout.splits)}, not {split!r}; "
            f"take --split {layout.splits[-1]}"
        )


def _nothing_found(
    root: Path, layout: Layout, split: str, config: TrackConfig, recordings: list[Recording]
) -> SourceError | UsageError:
    """Say why a recognised data set has nothing for a track."""
    if config.track == "averaged":
        return UsageError(
            f"{root} ({layout.name}) has no {config.averaged_frames} consecutive sharp frames to average "
            "(named by digits, in one folder); take another track"
        )
    if config.track not in FROM_SHARP and not layout.places:
        return UsageError(
            f"{root} holds pictures without blurred partners; {EXPECTED}, "
            f"or take --track gaussian, which is made from sharp ones{nearby(root)}"
        )
    folder = root / split if layout.splits and (root / split).is_dir() else root
    wanted = "sharp" if config.track in FROM_SHARP else layout.place_of(config.track, split)
    left_out = next(_left_out(recordings, config), f"{wanted} is missing")
    return SourceError(
        f"{layout.name} in {root} has nothing for the track {config.track!r}: {left_out}; "
        f"found {listed(folder)}{f' in {split}' if folder != root else ''}"
    )


def _made(sequences: tuple[PairSequence, ...], track: Track) -> Iterator[str]:
    """Say which sequences were made, and how."""
    names: dict[str, list[str]] = {}
    for sequence in sequences:
        made = sequence.pairs[0].degradation
        if made is not None:
            names.setdefault(made.note, []).append(sequence.name)
    for note, of in names.items():
        where = "" if len(of) == len(sequences) else f" in {', '.join(of)}"
        yield f"{track} was {note}{where}"


def _left_out(recordings: list[Recording], config: TrackConfig) -> Iterator[str]:
    if config.track == "blur_bicubic_x4":
        for recording in recordings:
            if recording.blur_x4 is not None and recording.lacks_truth:
                yield f"{recording.name} is left out: it has blur_x4 but no sharp pictures"


def _incomplete(layout: Layout, split: str, config: TrackConfig, sequences: tuple[PairSequence, ...]) -> Iterator[str]:
    if layout.name != "reds":
        return
    if len(sequences) != REDS_SEQUENCES[split]:
        yield f"{len(sequences)} sequences of the {REDS_SEQUENCES[split]} that {split} of REDS has"
    other = [sequence.name for sequence in sequences if len(sequence.pairs) != REDS_FRAMES]
    if other and config.track != "averaged":
        yield f"{len(other)} sequences have other than {REDS_FRAMES} frames, {other[0]} the first"
