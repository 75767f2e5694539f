from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from deblurrt.core.errors import InputError, QualityError
from deblurrt.models.student import Student
from deblurrt.models.student_config import StudentConfig
from deblurrt.training.batches import CropPool
from deblurrt.training.recipe import Recipe
from deblurrt.training.trainer import CHARBONNIER, Status, TrainConfig, Trainer, charbonnier

MakeTrainer = Callable[..., Trainer]

RECIPE = Recipe(
    "tiny", "tiny", StudentConfig(2, (8, 16), (1, 1), (1,)), warmup_steps=2, batch=2, patch_px=32,
    late_batch=1, late_patch_px=48,
)  # fmt: skip


class OneSecondPerLook:
    """A clock that is one second further whenever it is read: one training step takes one second."""

    def __init__(self) -> None:
        self._seconds = count()

    def monotonic(self) -> float:
        return float(next(self._seconds))


@pytest.fixture
def make_trainer(pool_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeTrainer:
    monkeypatch.setattr("deblurrt.training.trainer.time", OneSecondPerLook())

    def make(steps: int, recipe: Recipe = RECIPE, seed: int = 0) -> Trainer:
        config = TrainConfig(recipe, tmp_path / "run", hours=steps / 3600, seed=seed)
        picture = np.random.default_rng(0).integers(0, 256, (2, 30, 33, 3), dtype=np.uint8)
        return Trainer(config, CropPool(pool_folder, seed), [("noise", picture[0], picture[1])])

    return make


def ignore(status: Status) -> None:
    """Take no notice of the report."""


def weights(model: Student) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_run_ends_when_its_time_is_up(make_trainer: MakeTrainer) -> None:
    reports: list[Status] = []
    make_trainer(steps=4).train(reports.append)
    assert (reports[-1].step, reports[-1].progress) == (4, 1.0)
    # three steps of two 32 px patches (progress 0 to 0.5) and one late step of one 48 px patch
    assert reports[-1].pixels == 3 * 2 * 32 * 32 + 48 * 48
    assert set(reports[-1].gain_db) == {"noise"}


def test_training_returns_the_averaged_weights_ready_to_use(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(steps=4)
    before = weights(trainer.model)
    network = trainer.train(ignore)
    assert not network.training
    assert not torch.equal(weights(trainer.model), before)
    assert not torch.equal(weights(network), weights(trainer.model))


def test_same_seed_trains_the_same_network(make_trainer: MakeTrainer) -> None:
    first, second, other = (weights(make_trainer(4, seed=seed).train(ignore)) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_account_weights_and_gain_are_those_of_the_end(make_trainer: MakeTrainer) -> None:
    trainer, reports = make_trainer(steps=4, seed=2), list[Status]()
    network = trainer.train(reports.append)
    assert trainer.gain_db == reports[-1].gain_db
    assert trainer.account() == {"steps": 4, "pixels": reports[-1].pixels, "hours": 0.001, "seed": 2}
    stored = np.concatenate([array.ravel() for array in trainer.weights().values()])
    np.testing.assert_array_equal(stored, weights(network).numpy())


def test_log_has_a_line_per_report(make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deblurrt.training.trainer.LOG_STEPS", 2)
    make_trainer(steps=4).train(ignore)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 4]
    assert set(lines[0]) == {"step", "elapsed_s", "pixels", "ratio", "correction", "gain_db"}


def test_resumed_run_goes_on_from_its_step_and_weights(make_trainer: MakeTrainer) -> None:
    first = make_trainer(steps=3)
    first.train(ignore)
    second = make_trainer(steps=5, seed=1)
    second.resume()
    assert torch.equal(weights(second.model), weights(first.model))
    reports: list[Status] = []
    second.train(reports.append)
    assert reports[-1].step == 5


def test_resumed_run_draws_other_patches_than_at_its_beginning(make_trainer: MakeTrainer, pool_folder: Path) -> None:
    make_trainer(steps=3).train(ignore)
    resumed, expected = make_trainer(steps=5), CropPool(pool_folder, 0)
    resumed.resume()
    expected.restart(3)
    assert torch.equal(resumed._pool.batch(2, 16, {"real": 1.0})[0], expected.batch(2, 16, {"real": 1.0})[0])


def test_finished_run_resumes_to_its_end_without_a_step(make_trainer: MakeTrainer) -> None:
    network = make_trainer(steps=3).train(ignore)
    again = make_trainer(steps=3)
    again.resume()
    assert torch.equal(weights(again.train(ignore)), weights(network))


def test_interrupted_run_keeps_its_state(make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(status: Status) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deblurrt.training.trainer.LOG_STEPS", 2)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(steps=50).train(interrupt)
    resumed = make_trainer(steps=3)
    resumed.resume()
    reports: list[Status] = []
    resumed.train(reports.append)
    assert reports[-1].step == 3


def test_state_of_another_recipe_is_refused(make_trainer: MakeTrainer) -> None:
    make_trainer(steps=1).train(ignore)
    with pytest.raises(InputError, match="holds a run of tiny, not of other"):
        make_trainer(steps=1, recipe=replace(RECIPE, name="other")).resume()


def test_resuming_nothing_is_refused(make_trainer: MakeTrainer) -> None:
    with pytest.raises(InputError, match="nothing to resume in"):
        make_trainer(steps=1).resume()


def test_network_that_leaves_its_input_unchanged_ends_the_run(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deblurrt.training.trainer.DEAD_STEPS", 3)
    trainer = make_trainer(steps=10, recipe=replace(RECIPE, learning_rate=0.0))
    torch.nn.init.zeros_(trainer.model.tail.weight)
    with pytest.raises(QualityError, match=r"unchanged after 10 steps \(error ratio 1\.0000\)"):
        trainer.train(ignore)


def test_diverged_network_ends_the_run(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(steps=2)
    torch.nn.init.constant_(trainer.model.tail.weight, float("nan"))
    with pytest.raises(QualityError, match="diverged at step 2"):
        trainer.train(ignore)


def test_single_step_that_diverges_does_not_move_the_weights(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(steps=1)
    before = weights(trainer.model)
    monkeypatch.setattr(
        "deblurrt.training.trainer.charbonnier", lambda restored, sharp, blurred: restored.mean() * float("inf")
    )
    trainer.train(ignore)
    assert torch.equal(weights(trainer.model), before)


def test_charbonnier_of_a_perfect_restoration_is_its_floor() -> None:
    sharp, blurred = torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), 0.025)
    # an input error of 0.025 has the weight sqrt(0.03 / (0.025 + 0.005)) = 1
    assert float(charbonnier(sharp, sharp, blurred)) == pytest.approx(CHARBONNIER)


def test_strong_blur_weighs_less_per_error_than_mild_blur() -> None:
    sharp = torch.zeros(1, 3, 8, 8)
    mild, strong = (float(charbonnier(sharp + 0.01, sharp, sharp + error)) for error in (0.01, 0.1))
    assert strong < mild
