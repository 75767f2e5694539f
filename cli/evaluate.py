"""``deblurrt eval``: how close a network comes to the sharp truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ..core.errors import QualityError
from ..datasets.evaluation import Evaluation, Scores, SequenceScores, score_pairs
from ..datasets.gate import Frame, GateReport, judge_sequence
from ..datasets.pairs import PairSequence, open_pairs
from ..runtime.session import Session, open_session
from .options import backend_options, json_option, session_config
from .output import STDOUT, check_json_place, terminal, write_json

EXAMPLES = """\b
Examples:
  deblurrt eval default --data pairs
  deblurrt eval identity --data pairs --json -      (what doing nothing scores)
  deblurrt eval mine.onnx --data pairs --quality-gate 1.4"""


@click.command("eval", epilog=EXAMPLES)
@click.argument("model")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder with blur/ and sharp/, with blur.png and sharp.png, or a folder of such folders.",
)
@backend_options
@click.option(
    "--quality-gate",
    "target_db",
    type=float,
    metavar="DB",
    help="Also judge each sequence: this mean gain, better than sharpening, no halos (docs/quality.md); else exit 3.",
)
@json_option
def eval_command(model: str, data: Path, target_db: float | None, json_place: str | None, **backend: str) -> int:
    """Score MODEL (a shipped model or an ONNX file) against sharp truth: PSNR, SSIM and MSE on RGB."""
    check_json_place(json_place)
    sequences = open_pairs(data)
    with open_session(model, session_config(model, **backend)) as session:  # type: ignore[arg-type]
        evaluation, gates = _evaluate(session, sequences, target_db)
        description = session.backend.description
    values = {**evaluation.to_dict(), "model": model, "backend": description}
    judged = {"quality_gate": [gate.to_dict() for gate in gates]} if target_db is not None else {}
    write_json(json_place, values | judged)
    _print_table(evaluation, terminal() if json_place == STDOUT else Console())
    failed = [
        f"{gate.name}: {criterion.name} is {criterion.measured:.3g}, limit {criterion.limit:.3g}"
        for gate in gates
        for criterion in gate.criteria
        if not criterion.passed
    ]
    if failed:
        raise QualityError(f"{model} does not pass the quality gate ({'; '.join(failed)})")
    return 0


def _evaluate(
    session: Session, sequences: list[PairSequence], target_db: float | None
) -> tuple[Evaluation, list[GateReport]]:
    scored: list[SequenceScores] = []
    gates: list[GateReport] = []
    with Progress(console=terminal(), transient=True) as bar:
        task = bar.add_task("scoring", total=sum(map(len, sequences)))
        for sequence in sequences:
            frames: dict[str, Scores] = {}

            def pictures(sequence: PairSequence = sequence, frames: dict[str, Scores] = frames) -> Iterator[Frame]:
                for one in score_pairs(session.restore, sequence):
                    frames[one.pair.name] = one.scores
                    bar.update(task, advance=1, description=one.pair.name)
                    yield one.blurred, one.restored, one.sharp

            if target_db is None:
                for _ in pictures():
                    pass
            else:
                gates.append(judge_sequence(sequence.name, pictures(), target_db))
            scored.append(SequenceScores(sequence.name, frames))
    return Evaluation(tuple(scored)), gates


def _print_table(evaluation: Evaluation, console: Console) -> None:
    table = Table("sequence", "frames", "PSNR dB", "input dB", "gain dB", "SSIM", "MSE")
    rows = [(sequence.name, len(sequence.frames), sequence.mean) for sequence in evaluation.sequences]
    if len(rows) > 1:
        rows.append(("total", sum(count for _, count, _ in rows), evaluation.total))
    for name, count, scores in rows:
        figures = (f"{scores.psnr_db:.2f}", f"{scores.psnr_input_db:.2f}", f"{scores.gain_db:+.2f}")
        table.add_row(name, str(count), *figures, f"{scores.ssim:.4f}", f"{scores.mse:.1f}")
    console.print(table)
