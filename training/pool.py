"""The pool of training crops: ``uint8 [crop, 2, side, side, 3]``, sharp first, one file per kind.

A pool is made once from the material, in worker processes, with every choice drawn from the seed;
training then cuts random patches from it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.optional import require
from ..core.pictures import read_picture
from ..datasets import motion_blur, motion_fields, opencv
from ..datasets.motion_fields import MotionField
from .material import Material

Pixels = NDArray[np.uint8]
Crops = NDArray[np.uint8]

logger = logging.getLogger(__name__)

CHUNK = 100
#: positions tried per crop; the one with the most detail is taken
TRIES = 3
TILE_STRIDE = 128
#: share of the crops with measured motion that get slight noise
NOISY_SHARE = 0.2
EXPOSURES = (0.35, 0.42 * 2, 1.0)


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """How many crops of each synthesised kind, and their size.

    Attributes:
        side_px: Height and width of a crop.
        camera: Crops blurred by a synthesised camera movement.
        field: Crops blurred by the measured motion of another recording.
        straight: Crops blurred along a straight line.
        seed: Where every random choice starts.
        video_triples: Moments measured per video file.
    """

    side_px: int = 256
    camera: int = 5000
    field: int = 5000
    straight: int = 1500
    seed: int = 0
    video_triples: int = 12


Progress = Callable[[str, int, int], None]


def build_pool(material: Material, config: PoolConfig, folder: Path, workers: int, progress: Progress) -> None:
    """Write every kind of crop into ``folder``; kinds already there for the same plan are kept.

    Args:
        material: What to make crops from.
        config: How many and how large.
        folder: Where the ``.npy`` files go.
        workers: Processes to use.
        progress: Called with (kind, done, total).
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [[path.name, path.stat().st_size] for path in material.files()]
    plan: dict[str, object] = {"config": asdict(config), "files": files}
    _forget_other_plan(folder, plan)
    _write_once(folder, "real", lambda: _real_crops(material, config))
    _write_once(folder, "averaged", lambda: _averaged_crops(material, config, folder, progress))
    for kind in ("camera", "field", "straight"):
        _synthesise(material, config, folder, kind, workers, progress)


def _forget_other_plan(folder: Path, plan: dict[str, object]) -> None:
    path, text = folder / "plan.json", json.dumps(plan, indent=1)
    if path.is_file() and path.read_text() == text:
        return
    for crops in folder.glob("*.npy"):
        crops.unlink()
    path.write_text(text)


def _write_once(folder: Path, kind: str, make: Callable[[], Iterator[Crops]]) -> None:
    path = folder / f"{kind}.npy"
    if path.is_file():
        return
    crops = list(make())
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, np.stack(crops) if crops else np.zeros((0, 2, 1, 1, 3), np.uint8))
    part.replace(path)


def _tiles(sharp: Pixels, blurred: Pixels, side: int) -> Iterator[Crops]:
    """Cut a pair into overlapping squares; a pair smaller than ``side`` gives none."""
    height, width = sharp.shape[:2]
    if min(height, width) < side:
        return
    for row in sorted({*range(0, height - side, TILE_STRIDE), height - side}):
        for column in sorted({*range(0, width - side, TILE_STRIDE), width - side}):
            window = (slice(row, row + side), slice(column, column + side))
            yield np.stack([sharp[window], blurred[window]])


def _real_crops(material: Material, config: PoolConfig) -> Iterator[Crops]:
    for pair in material.pairs:
        blurred, sharp = pair.read()
        if min(sharp.shape[:2]) < config.side_px:
            sharp, blurred = (_mirrored(pixels, config.side_px) for pixels in (sharp, blurred))
        yield from _tiles(sharp, blurred, config.side_px)


def _mirrored(pixels: Pixels, side: int) -> Pixels:
    short = [(0, max(side - length, 0)) for length in pixels.shape[:2]]
    return np.pad(pixels, (*short, (0, 0)), mode="reflect")


def _averaged_crops(material: Material, config: PoolConfig, folder: Path, progress: Progress) -> Iterator[Crops]:
    """Average neighbouring frames; measured motion is stored beside for ``field`` crops."""
    fields: list[MotionField] = []
    triples = [*_clip_triples(material), *_video_triples(material, config.video_triples)]
    rng = np.random.default_rng(config.seed)
    for done, (is_video, (before, frame, after)) in enumerate(triples):
        progress("averaged", done, len(triples))
        motion = motion_fields.motion_field(before, frame, after)
        fields.append(motion)
        if min(frame.shape[:2]) < config.side_px:
            continue
        exposures = EXPOSURES if not is_video else (1.6,)
        for exposure in exposures:
            blurred = motion_fields.averaged_frame(before, frame, after, motion, exposure)
            tiles = list(_tiles(frame, blurred, config.side_px))
            yield from tiles if not is_video else _most_moving(tiles, rng)
    progress("averaged", len(triples), len(triples))
    with (folder / "fields.npz").open("wb") as file:
        np.savez(file, *(np.stack([motion.ahead, motion.behind]) for motion in fields))


def _most_moving(tiles: list[Crops], rng: np.random.Generator) -> list[Crops]:
    """Of a video's tiles the few that really are blurred: still ones only teach to do nothing."""
    change = [float(np.abs(tile[0].astype(np.int16) - tile[1]).mean()) for tile in tiles]
    order = np.argsort(change)[::-1][:10]
    return [tiles[int(index)] for index in rng.permutation(order)[:5]]


Triple = tuple[Pixels, Pixels, Pixels]
TRIPLE = 3


def _clip_triples(material: Material) -> Iterator[tuple[bool, Triple]]:
    for clip in material.clips:
        frames = [read_picture(path) for path in clip]
        for before, frame, after in zip(frames, frames[1:], frames[2:], strict=False):
            yield False, (before, frame, after)


def _video_triples(material: Material, count: int) -> Iterator[tuple[bool, Triple]]:
    av = require("av", purpose="read videos")
    for path in material.videos:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            total = max(stream.frames, 3 * count)
            wanted = {int(start) for start in np.linspace(0, total - 4, count)}
            held: list[Pixels] = []
            for index, frame in enumerate(container.decode(stream)):
                if held or index in wanted:
                    held.append(frame.to_ndarray(format="rgb24"))
                if len(held) == TRIPLE:
                    yield True, (held[0], held[1], held[2])
                    held = []


def _synthesise(
    material: Material, config: PoolConfig, folder: Path, kind: str, workers: int, progress: Progress
) -> None:
    path = folder / f"{kind}.npy"
    total: int = getattr(config, kind)
    if path.is_file() or not total:
        return
    if kind == "field" and not _has_fields(folder):
        logger.warning("no clips or videos among the data: no crops are made from measured motion")
        return
    part = path.with_suffix(".part")
    shape = (total, 2, config.side_px, config.side_px, 3)
    crops = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
    photographs = [*material.stills, *(frame for clip in material.clips for frame in clip)]
    spans = [(start, min(CHUNK, total - start)) for start in range(0, total, CHUNK)]
    make = partial(_chunk, kind, photographs, folder, config)
    done = 0
    for start, made in _in_workers(make, spans, workers):
        crops[start : start + len(made)] = made
        done += len(made)
        progress(kind, done, total)
    crops.flush()
    part.replace(path)


def _in_workers(
    make: Callable[[int, int], Crops], spans: list[tuple[int, int]], workers: int
) -> Iterator[tuple[int, Crops]]:
    """Yield each span's start and crops as they get ready; one worker is this process itself."""
    if workers == 1 or len(spans) == 1:
        for start, count in spans:
            yield start, make(start, count)
        return
    # spawned, not forked: OpenCV's threads of this process do not survive a fork and lock the child
    spawn = get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=opencv.use_threads, initargs=(1,)) as pool:
        jobs = {pool.submit(make, start, count): start for start, count in spans}
        for job in as_completed(jobs):
            yield jobs[job], job.result()


def _chunk(kind: str, photographs: list[Path], folder: Path, config: PoolConfig, start: int, count: int) -> Crops:
    """Make ``count`` crops in a worker; the seed depends on kind and position alone."""
    rng = np.random.default_rng([config.seed, sum(map(ord, kind)), start])
    chosen = [photographs[int(index)] for index in rng.integers(0, len(photographs), 6)]
    pictures = [pixels for pixels in map(_photograph, chosen) if _fits(pixels, config)]
    pictures = pictures or [pixels for pixels in map(_photograph, photographs) if _fits(pixels, config)][:6]
    if not pictures:
        side = config.side_px + 2 * motion_blur.MARGIN_PX
        raise InputError(f"none of {len(photographs)} sharp pictures is {side}x{side} or larger; add larger ones")
    fields = _fields(folder) if kind == "field" else []
    return np.stack([_make(kind, pictures, fields, config.side_px, rng) for _ in range(count)])


def _fits(pixels: Pixels, config: PoolConfig) -> bool:
    return bool(min(pixels.shape[:2]) >= config.side_px + 2 * motion_blur.MARGIN_PX)


@lru_cache(maxsize=24)
def _photograph(path: Path) -> Pixels:
    return read_picture(path)


def _has_fields(folder: Path) -> bool:
    with np.load(folder / "fields.npz") as stored:
        return bool(stored.files)


@lru_cache(maxsize=1)
def _fields(folder: Path) -> list[MotionField]:
    with np.load(folder / "fields.npz") as stored:
        return [MotionField(both[0], both[1]) for both in stored.values()]


def _make(kind: str, pictures: list[Pixels], fields: list[MotionField], side: int, rng: np.random.Generator) -> Crops:
    wide = side + 2 * motion_blur.MARGIN_PX
    region = _detailed_region(pictures[int(rng.integers(0, len(pictures)))], wide, rng)
    inner = region[motion_blur.MARGIN_PX : -motion_blur.MARGIN_PX, motion_blur.MARGIN_PX : -motion_blur.MARGIN_PX]
    if kind == "camera":
        other = _detailed_region(pictures[int(rng.integers(0, len(pictures)))], wide, rng)
        sharp, blurred = motion_blur.camera_pair(region, other, rng)
    elif kind == "straight":
        sharp, blurred = motion_blur.straight_pair(inner, rng)
    else:
        motion = motion_fields.random_field(fields, wide, rng)
        exposure = motion_fields.REDS_EXPOSURE * rng.uniform(0.85, 1.15)
        wide_blur = motion_fields.transplant(region, motion, float(exposure))
        margin = motion_blur.MARGIN_PX
        sharp, blurred = inner, wide_blur[margin:-margin, margin:-margin]
        blurred = motion_blur.with_noise(blurred, rng) if rng.random() < NOISY_SHARE else blurred
    return np.stack([sharp, blurred])


def _detailed_region(pixels: Pixels, side: int, rng: np.random.Generator) -> Pixels:
    """Cut the most detailed of a few random squares, from a randomly reduced photograph."""
    smallest = side / min(pixels.shape[:2])
    scale = rng.uniform(max(smallest, 0.45), 1.0)
    best, most = pixels[:side, :side], -1.0
    for _ in range(TRIES):
        span = min(int(side / scale), *pixels.shape[:2])
        row = int(rng.integers(0, pixels.shape[0] - span + 1))
        column = int(rng.integers(0, pixels.shape[1] - span + 1))
        square = pixels[row : row + span, column : column + span]
        grey = square[::2, ::2, 1].astype(np.float32)
        detail = float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())
        if detail > most:
            best, most = square, detail
    return opencv.shrink(best, (side, side)) if best.shape[0] != side else best
