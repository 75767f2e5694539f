"""``deblurrt eval``: how close a network comes to the sharp truth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..core.caches import cache_folder
from ..core.errors import MissingExtraError, QualityError
from ..datasets.dataset import Dataset, open_dataset
from ..datasets.evaluation import Evaluation, ScoreConfig, Scored, Scores, SequenceScores, score_pairs
from ..datasets.evaluation_journal import EvaluationJournal
from ..datasets.gate import GateReport, judge_sequence
from ..datasets.lpips_metric import open_lpips
from ..datasets.recordings import TRACKS
from ..runtime.ensemble import ENSEMBLES
from .opening import ModelChoice, OpenedModel, open_model
from .options import SIZE, backend_options, json_option, model_options, session_config, tile_options
from .output import check_json_place, print_table, terminal, write_json

EXAMPLES = """\b
Examples:
  deblurrt eval default --data pairs
  deblurrt eval identity --data REDS --track blur_jpeg --frames every10   (what doing nothing scores)
  deblurrt eval mprnet --checkpoint model_deblurring.pth --tlsc 256:384 --data GOPRO --split test
  deblurrt eval mprnet_sr --checkpoint model_best.pth --tlsc 64:96 --data REDS \\
      --track blur_bicubic_x4 --frames every10 --crop 704x1280 --ensemble x8
  deblurrt eval mine.onnx --data pairs --quality-gate 1.4 --json -"""


@dataclass(frozen=True, slots=True)
class _Job:
    """What is scored, and how.

    Attributes:
        dataset: The frames.
        config: What is measured.
        target_db: Mean gain of the quality gate; None: not judged.
        restart: Whether scores of an interrupted evaluation are thrown away.
    """

    dataset: Dataset
    config: ScoreConfig
    target_db: float | None
    restart: bool


@click.command("eval", epilog=EXAMPLES)
@click.argument("model")
@click.option(
    "--data",
    required=True,
    envvar="DEBLURRT_REDS",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="Root of REDS, GOPRO, HIDE or CIFAR-10, a folder of pairs or of sharp pictures (docs/datasets.md).",
)
@click.option("--track", type=click.Choice(TRACKS), default="blur", show_default=True, help="Which degradation.")
@click.option("--split", default="val", show_default=True, help="Part of a data set that has parts.")
@click.option(
    "--frames",
    type=click.Choice(["all", "every10", "ends9"]),
    default="all",
    show_default=True,
    help="Which frames are scored: all, every tenth (Val300), or those whose name ends in 9 (NTIRE).",
)
@click.option("--crop", type=SIZE, help="Score the middle of the sharp pictures only (704x1280: MPRNet-SR's).")
@model_options
@click.option(
    "--ensemble",
    "ensembles",
    type=click.Choice(ENSEMBLES),
    multiple=True,
    help="Average over flips and rotations, or restore quarters; may be given twice (x8 and quarters).",
)
@backend_options
@tile_options
@click.option(
    "--quality-gate",
    "target_db",
    type=float,
    metavar="DB",
    help="Also judge each sequence: this mean gain, better than sharpening, no halos (docs/quality.md); else exit 3.",
)
@click.option("--restart", is_flag=True, help="Forget what an interrupted evaluation of the same has scored.")
@json_option
def eval_command(
    model: str,
    data: Path,
    track: Any,
    split: str,
    frames: Any,
    crop: tuple[int, int] | None,
    checkpoint: Path | None,
    tlsc: str | None,
    ensembles: tuple[str, ...],
    target_db: float | None,
    restart: bool,
    json_place: str | None,
    **options: Any,
) -> int:
    """Score MODEL against sharp truth: PSNR, SSIM and MSE on RGB, PSNR and SSIM on luminance, LPIPS.

    MODEL is a shipped name, a network of the zoo (run in PyTorch), package.module:factory or an ONNX
    file. An interrupted evaluation goes on where it stopped.
    """
    check_json_place(json_place)
    dataset = open_dataset(data, track, split).choose(frames)
    dataset = dataset.crop_to(crop) if crop else dataset
    lpips, missing = _lpips()
    opened = open_model(ModelChoice(model, checkpoint, tlsc, ensembles), session_config(model, **options))
    with opened.session as session:
        config = ScoreConfig(with_neighbours=session.contract.window > 1, lpips=lpips)
        evaluation, gates = _evaluate(opened, _Job(dataset, config, target_db, restart))
        description = session.backend.description
    notes = [*dataset.notes, *missing]
    facts = {"model": model, "backend": description, "layout": dataset.layout, "track": track, "split": dataset.split}
    judged = {"quality_gate": [gate.to_dict() for gate in gates]} if target_db is not None else {}
    write_json(json_place, {**evaluation.to_dict(), **facts, "notes": notes} | judged)
    print_table(_table(evaluation), json_place)
    for note in notes:
        terminal().print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
    _raise_missed(model, gates)
    return 0


def _lpips() -> tuple[Any, list[str]]:
    """Open LPIPS where it is installed, else say why it is not measured."""
    try:
        return open_lpips(), []
    except MissingExtraError as error:
        return None, [f"LPIPS is not measured: {error}"]


def _evaluate(opened: OpenedModel, job: _Job) -> tuple[Evaluation, list[GateReport]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    scores: dict[str, Scores] = {}
    gates: list[GateReport] = []
    with Progress(*columns, console=terminal(), transient=True) as bar, _journal(opened, job) as journal:
        done = journal.scores if journal else {}
        scores.update(done)
        task = bar.add_task("scoring", total=len(job.dataset), completed=len(done))

        def kept(scored: Iterator[Scored]) -> Iterator[tuple[Any, Any, Any]]:
            for one in scored:
                scores[one.pair.name] = one.scores
                if journal:
                    journal.append(one.pair.name, one.scores)
                bar.update(task, advance=1, description=one.pair.name)
                yield one.blurred, one.restored, one.sharp

        for sequence in job.dataset:
            pictures = kept(score_pairs(opened.session.restore, sequence.without(done), job.config))
            if job.target_db is not None:
                gates.append(judge_sequence(sequence.name, pictures, job.target_db))
            for _ in pictures:
                pass
    ordered = (
        SequenceScores(sequence.name, {pair.name: scores[pair.name] for pair in sequence}) for sequence in job.dataset
    )
    return Evaluation(tuple(ordered)), gates


@contextmanager
def _journal(opened: OpenedModel, job: _Job) -> Iterator[EvaluationJournal | None]:
    """Open the journal of this very evaluation; removed when all is scored.

    There is none where the model's weights cannot be told, and none for the quality gate, which
    needs every picture.
    """
    if opened.identity is None or job.target_db is not None:
        yield None
        return
    measured = {"lpips": job.config.lpips is not None, "deblurrt": version("deblurrt")}
    key = {**opened.identity, **measured, "data": job.dataset.fingerprint()}
    path = cache_folder("eval") / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]}.jsonl"
    if job.restart:
        path.unlink(missing_ok=True)
    with EvaluationJournal(path, key) as journal:
        if journal.scores:
            count = f"{len(journal.scores)} of {len(job.dataset)}"
            terminal().print(f"going on: {count} frames are scored already (--restart scores them anew)")
        yield journal
    path.unlink(missing_ok=True)


def _raise_missed(model: str, gates: list[GateReport]) -> None:
    failed = [
        f"{gate.name}: {criterion.name} is {criterion.measured:.3g}, limit {criterion.limit:.3g}"
        for gate in gates
        for criterion in gate.criteria
        if not criterion.passed
    ]
    if failed:
        raise QualityError(f"{model} does not pass the quality gate ({'; '.join(failed)})")


def _table(evaluation: Evaluation) -> Table:
    has_lpips = evaluation.total.lpips is not None
    table = Table("sequence", "frames", "PSNR dB", "input dB", "gain dB", "SSIM", "MSE", "PSNR-Y dB", "SSIM-Y")
    if has_lpips:
        table.add_column("LPIPS")
    rows = [(sequence.name, len(sequence.frames), sequence.mean) for sequence in evaluation.sequences]
    if len(rows) > 1:
        rows.append(("total", sum(count for _, count, _ in rows), evaluation.total))
    for name, count, scores in rows:
        cells = [f"{scores.psnr_db:.2f}", f"{scores.psnr_input_db:.2f}", f"{scores.gain_db:+.2f}"]
        cells += [f"{scores.ssim:.4f}", f"{scores.mse:.1f}", f"{scores.psnr_y_db:.2f}", f"{scores.ssim_y:.4f}"]
        table.add_row(name, str(count), *cells, *([f"{scores.lpips:.4f}"] if has_lpips else []))
    return table
