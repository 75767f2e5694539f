"""Deblur a clip and show what came of it: ``make demo`` runs this.

Without ``--input`` it films a clip of its own: a virtual camera shakes in front of a photograph,
the shutter stays open over true exposure times, and the sharp twin of every frame is known, so that
the result can be scored. Everything goes into one folder:

    out.mp4          the deblurred clip
    comparison.png   before | after (| truth), below it an enlarged detail
    summary.json     frames, fps, latency percentiles, PSNR before and after
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from time import monotonic_ns

import click
import numpy as np
from numpy.typing import NDArray

from deblurrt.cli.main import exit_codes
from deblurrt.core.optional import require
from deblurrt.core.pictures import write_picture
from deblurrt.datasets import opencv
from deblurrt.datasets.metrics import psnr
from deblurrt.datasets.virtual_camera import VirtualCamera
from deblurrt.runtime import Frame, RunConfig, SessionConfig, open_sink, open_source, run

Pixels = NDArray[np.uint8]

FRAMES = 90
FRAME_RATE = 30
SEED = 3
DETAIL_PX = (120, 213)


class KeptFrames:
    """A sink that keeps the pictures in memory."""

    def __init__(self) -> None:
        self.path = Path("memory")
        self.pictures: list[Pixels] = []

    def write(self, frame: Frame) -> None:
        self.pictures.append(frame.pixels)

    def close(self) -> None: ...

    def abort(self) -> None: ...


def film_clip(path: Path) -> list[Pixels]:
    """Write a blurred clip to ``path`` and return its sharp twin."""
    photographs = require("skimage.data", purpose="make the demonstration clip")
    photograph: Pixels = photographs.stereo_motorcycle()[0]
    sink = open_sink(path, force=True, frame_rate=Fraction(FRAME_RATE))
    sharp: list[Pixels] = []
    camera = VirtualCamera(frame_rate=FRAME_RATE, seed=SEED)
    for seq, (blurred, truth) in enumerate(camera.film(photograph, FRAMES)):
        sink.write(Frame(blurred, seq, monotonic_ns()))
        sharp.append(truth)
    sink.close()
    return sharp


def comparison(panels: dict[str, Pixels]) -> Pixels:
    """Lay pictures of one size side by side, an enlarged detail of each below, with their names."""
    height, width = next(iter(panels.values())).shape[:2]
    row, column = (height - DETAIL_PX[0]) // 2, (width - DETAIL_PX[1]) // 2
    columns = []
    for name, picture in panels.items():
        detail = picture[max(row, 0) : row + DETAIL_PX[0], max(column, 0) : column + DETAIL_PX[1]]
        enlarged = opencv.enlarge(detail, (round(width * detail.shape[0] / detail.shape[1]), width))
        columns.append(np.concatenate([opencv.with_label(picture, name), enlarged]))
    return np.concatenate(columns, axis=1)


def frame_of(path: Path, index: int) -> Pixels:
    """Read one frame of a video; the last one where it is shorter."""
    source = open_source(path)
    try:
        for frame in source:
            picture = frame.pixels
            if frame.seq == index:
                break
        return picture
    finally:
        source.close()


def scores(blurred: Path, restored: list[Pixels], truth: list[Pixels]) -> tuple[dict[str, float], int]:
    """Mean PSNR before and after, and the frame whose blur is most typical."""
    before = [psnr(frame.pixels, sharp) for frame, sharp in zip(open_source(blurred), truth, strict=True)]
    after = [psnr(picture, sharp) for picture, sharp in zip(restored, truth, strict=True)]
    typical = int(np.argsort(before)[len(before) // 2])
    return {"before": round(float(np.mean(before)), 3), "after": round(float(np.mean(after)), 3)}, typical


@click.command()
@click.option("--input", "source", type=click.Path(path_type=Path), help="A video to deblur; films its own if absent.")
@click.option("--output", "folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--model", default="default", show_default=True)
def demo(source: Path | None, folder: Path, model: str) -> None:
    """Deblur a clip, show a picture of it and write a summary."""
    folder.mkdir(parents=True, exist_ok=True)
    clip, output = source or folder / "blurred.mp4", folder / "out.mp4"
    truth: list[Pixels] = []
    if source is None:
        click.echo(f"filming {FRAMES} blurred frames of a photograph", err=True)
        truth = film_clip(clip)
    kept = KeptFrames()
    summary = run(clip, [output, kept] if truth else [output], RunConfig(SessionConfig(model), force=True))
    values = summary.to_dict()
    values["emitted"] = {str(output): summary.emitted[str(output)]}
    shown = summary.captured // 2
    if truth:
        values["psnr_db"], shown = scores(clip, kept.pictures, truth)
    panels = {"before": frame_of(clip, shown), "after": frame_of(output, shown)}
    if truth:
        panels["truth"] = truth[shown]
    write_picture(folder / "comparison.png", comparison(panels))
    (folder / "summary.json").write_text(json.dumps(values, indent=2) + "\n")
    click.echo(json.dumps(values, indent=2))
    for name in (output.name, "comparison.png", "summary.json"):
        click.echo(f"written: {folder / name}")


if __name__ == "__main__":
    with exit_codes():
        demo(standalone_mode=False)
