"""What training through 8 bits gains over quantising afterwards: a figure of docs/quantize.md.

    python -m deblurrt.profiling.int8_training --data DATA --work WORK --steps 300

DATA is laid out as the development data. The shipped ``fast`` is fine-tuned twice from its weights, with the same
patches and steps: in float, and through the 8 bits of everything for TensorRT. All three are quantised by the same
rules and scored on real pairs that take part in neither.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..calibration.clips import PairClip
from ..calibration.frames import FrameChoice, FrameList, Frames, choose_frames
from ..calibration.graph_sessions import open_restorer
from ..calibration.quality import Judge
from ..calibration.quantization import Quantization
from ..calibration.quantize_config import QuantizeConfig
from ..core.contract import FrameContract
from ..datasets.pairs import open_pairs
from ..export.student_graph import student_contract, student_model
from ..runtime.shipped_models import find_model
from ..training.material import find_material
from ..training.pool import PoolConfig, build_pool
from ..training.weights import Weights, load_weights

if TYPE_CHECKING:
    from torch import nn

    from ..models.student import Student
    from ..models.student_config import StudentConfig
    from ..training.batches import CropPool

#: the network, the crops of each kind, patches a step and their side, the rate, frames to calibrate on
NAME, CROPS, BATCH, PATCH_PX, RATE, FRAMES = "fast", 200, 8, 96, 1e-4, 16
SCORED = ("gopro_street", "gopro_istanbul", "gopro_flower")
EVERYTHING = QuantizeConfig("tensorrt", ends=True)


@dataclass(frozen=True, slots=True)
class Scene:
    """What everything is measured with.

    Attributes:
        config: Of the network.
        contract: Its own.
        frames: It is calibrated on.
        scored: Real pairs that take no part.
        pool: Patches it is trained on.
    """

    config: StudentConfig
    contract: FrameContract
    frames: Frames
    scored: FrameList
    pool: Path


def scene(data: Path, work: Path, config: StudentConfig) -> Scene:
    """Make ready, with a small pool of patches."""
    pairs = data / "pairs"
    contract = student_contract(config, "float")
    roots = (pairs / "reds_seq000", data / "images" / "carnd_driving")
    clips = tuple(PairClip(sequence) for name in SCORED for sequence in open_pairs(pairs / name))
    scored = FrameList(clips, tuple((index, 0) for index in range(len(clips))))
    material = find_material((pairs, data / "images" / "budgie_cc0", data / "images" / "reds_seq002_sharp"))
    counts = PoolConfig(camera=CROPS, field=CROPS, straight=CROPS // 3, seed=0)
    build_pool(material, counts, work / "pool", 1, lambda _kind, _done, _total: None)
    frames = choose_frames(FrameChoice(roots, count=FRAMES), contract)
    return Scene(config, contract, frames, scored, work / "pool")


def scores(scene: Scene, weights: Weights) -> tuple[dict[str, float], Any]:
    """Quantise weights for TensorRT, everything in 8 bits, and score both forms step by step.

    Returns:
        PSNR in float and in 8 bits, dB, and the quantised graph.
    """
    floats = student_model(scene.config, weights, {}, io="float")
    judge = Judge.of(open_restorer(floats, scene.contract, is_plain=True), list(scene.scored))
    low = Quantization(floats, NAME, scene.contract, scene.frames, EVERYTHING).run()
    quality = judge.quality(open_restorer(low, scene.contract, is_plain=True))
    row = {"float_db": quality.mean("psnr_float_db") or 0.0, "int8_db": quality.mean("psnr_db") or 0.0}
    return row | {"lost_db": row["float_db"] - row["int8_db"]}, low


def tuned(scene: Scene, weights: Weights, low: Any | None, steps: int) -> Weights:
    """Train on from weights: in float, or through the 8 bits of a file of them."""
    import torch

    from ..models.student import Student
    from ..training.batches import CropPool
    from ..training.quantized_network import CALIBRATION_BATCHES, QuantizedNetwork, trained_placement
    from ..training.recipe import RECIPES

    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = Student(scene.config)
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
    recipe = next(entry for entry in RECIPES.values() if entry.ships_as == NAME)
    pool, shares = CropPool(scene.pool, 0), recipe.shares_at(1.0)
    seen: nn.Module = network
    if low is not None:
        rounded = QuantizedNetwork(network, trained_placement(low, network), EVERYTHING)
        # patches of its own, so that both runs train on the same ones
        first = CropPool(scene.pool, 1)
        rounded.calibrate(first.batch(BATCH, PATCH_PX, shares)[0] for _ in range(CALIBRATION_BATCHES))
        seen = rounded
    _train(network, seen, pool, shares, steps)
    return {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}


def _train(network: Student, seen: nn.Module, pool: CropPool, shares: dict[str, float], steps: int) -> None:
    import torch

    from ..training.trainer import charbonnier

    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)
        blurred, sharp, _ = pool.batch(BATCH, PATCH_PX, shares)
        optimizer.zero_grad(set_to_none=True)
        charbonnier(seen(blurred), sharp, blurred).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Development data.")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="The pool of patches is kept here.")
@click.option("--steps", type=click.IntRange(min=1), default=300, show_default=True, help="Of each fine-tuning.")
def main(data: Path, work: Path, steps: int) -> None:
    """Measure, and print PSNR in float and in 8 bits."""
    work.mkdir(parents=True, exist_ok=True)
    weights, recipe, _ = load_weights(find_model(NAME).with_suffix(".safetensors"))
    place = scene(data, work, recipe.model)
    shipped, low = scores(place, weights)
    click.echo(json.dumps({"shipped": shipped}))
    for name, file in (("tuned in float", None), ("tuned through 8 bits", low)):
        click.echo(json.dumps({name: scores(place, tuned(place, weights, file, steps))[0]}))


if __name__ == "__main__":
    main()
