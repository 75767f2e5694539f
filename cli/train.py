"""``deblurrt train``: make a shipped network anew, from folders of pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ..core.artifacts import OnnxFile
from ..core.errors import OutputError
from ..core.optional import require
from ..export.student_graph import onnx_from_student
from ..training.material import Material, find_material
from ..training.pool import PoolConfig, build_pool
from ..training.recipe import RECIPES
from ..training.weights import provenance, save_weights
from .output import terminal

if TYPE_CHECKING:
    from ..training.trainer import Status, Trainer

EXAMPLES = """\b
Examples:
  deblurrt train student-s --data photographs --data pairs -o runs/s --hours 2
  deblurrt train student-s --data photographs --data pairs -o runs/s --hours 4 --resume"""


@click.command("train", epilog=EXAMPLES)
@click.argument("recipe", type=click.Choice(list(RECIPES)))
@click.option(
    "--data",
    "roots",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="Folder with stills, sharp clips, videos or real pairs; may be given several times.",
)
@click.option("-o", "--output", "folder", required=True, type=click.Path(path_type=Path), help="Folder of the run.")
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="Length of the run; a resumed one counts what it has trained already.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; all cores if not given.")
@click.option("--seed", type=int, default=0, show_default=True, help="Start of every random choice.")
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder.")
@click.option(
    "--int8",
    "quantized",
    type=click.Path(path_type=Path),
    help="File deblurrt quantize wrote of such a network: the end of the run trains through its 8 bits.",
)
@click.option("--crops", type=click.IntRange(min=20), default=5000, show_default=True, help="Synthesised crops a kind.")
def train_command(
    recipe: str,
    roots: tuple[Path, ...],
    folder: Path,
    hours: float,
    device: str,
    threads: int | None,
    seed: int,
    resume: bool,
    quantized: Path | None,
    crops: int,
) -> int:
    """Train RECIPE and write its weights and its ONNX file.

    Blurred and sharp crops are synthesised first and kept in the output folder. Real pairs beside
    them raise the quality; their last frames are kept out and scored while training goes on.
    """
    torch = require("torch", purpose="train a network")
    from ..training.batches import CropPool
    from ..training.trainer import TrainConfig, Trainer
    from ..training.validation import validation_pairs

    if (folder / "state.pt").exists() and not resume:
        raise OutputError(f"{folder} holds a run already; go on with --resume or give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    workers = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(workers)
    material = find_material(roots)
    pool = PoolConfig(camera=crops, field=crops, straight=max(crops // 3, 1), seed=seed)
    _build_pool(material, pool, folder, workers)
    config = TrainConfig(RECIPES[recipe], folder, hours, device, seed, quantized=quantized)
    trainer = Trainer(config, CropPool(folder / "pool", seed), validation_pairs(material))
    if resume:
        trainer.resume()
    with _progress_line(hours) as report:
        trainer.train(report)
    weights_path, onnx_file = _write_results(trainer, folder)
    terminal().print(f"weights: {weights_path}\nmodel: {onnx_file.path}", highlight=False, soft_wrap=True)
    return 0


def _build_pool(material: Material, config: PoolConfig, folder: Path, workers: int) -> None:
    with _bar() as bar:
        tasks: dict[str, TaskID] = {}

        def progress(kind: str, done: int, total: int) -> None:
            if kind not in tasks:
                tasks[kind] = bar.add_task(f"{kind} crops", total=total)
            bar.update(tasks[kind], completed=done)

        build_pool(material, config, folder / "pool", workers, progress)


def _bar(*extra: TextColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), *extra, TimeElapsedColumn(), console=terminal(), transient=True
    )


@contextmanager
def _progress_line(hours: float) -> Iterator[Callable[[Status], None]]:
    """Step, error ratio, correction and validation gain, on one line."""
    with _bar(TextColumn("{task.fields[state]}")) as bar:
        task = bar.add_task(f"training for {hours:g} h", total=1.0, state="")

        def report(status: Status) -> None:
            ratio = sum(status.ratio.values()) / max(len(status.ratio), 1)
            state = f"step {status.step}, error ratio {ratio:.3f}, correction {status.correction:.4f}"
            if status.gain_db:
                state += f", gain {sum(status.gain_db.values()) / len(status.gain_db):+.2f} dB"
            bar.update(task, completed=status.progress, state=state)

        yield report


def _write_results(trainer: Trainer, folder: Path) -> tuple[Path, OnnxFile]:
    """Write weights, model and scores under the name the model ships as."""
    recipe, trained = trainer.config.recipe, trainer.account()
    weights = trainer.weights()
    weights_path = folder / f"{recipe.ships_as}.safetensors"
    save_weights(weights, recipe, trained, weights_path)
    origin = provenance(weights, recipe, trained)
    onnx_file = onnx_from_student(recipe.model, weights, folder / f"{recipe.ships_as}.onnx", origin, force=True)
    (folder / "scores.json").write_text(json.dumps({"gain_db": trainer.gain_db, **trained}, indent=2) + "\n")
    return weights_path, onnx_file
