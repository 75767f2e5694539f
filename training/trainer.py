"""The training loop: resumable, timed, and watching for the ways small deblurrers die."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core.errors import InputError, QualityError
from ..models.student import Student
from .batches import CropPool
from .muon import Muon
from .quantized_network import CALIBRATION_BATCHES, QuantizedNetwork, rounded_network
from .recipe import Recipe
from .validation import Validation, gain_db

CHARBONNIER = 1e-3
#: a single step longer than this was a pause of the machine and does not count as training time
LONGEST_STEP_S = 5.0
LOG_STEPS = 200
SAVE_S = 120.0
#: after so many steps a network that leaves its input as it is will never learn
DEAD_STEPS = 1500
DEAD_RATIO = 0.9995
#: last share of a run that trains through 8 bits, where that is wanted: when the rate falls already
INT8_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One run of a recipe.

    Attributes:
        recipe: What to train.
        folder: Where state, log and weights go.
        hours: Length of the run; a resumed run counts what it has trained already.
        device: ``cpu`` or ``cuda``.
        seed: Start of every random choice.
        validate_minutes: Time between two validations.
        quantized: File that was quantised of such a network; the end of the run trains through its 8 bits. None: none.
    """

    recipe: Recipe
    folder: Path
    hours: float = 2.0
    device: str = "cpu"
    seed: int = 0
    validate_minutes: float = 10.0
    quantized: Path | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """How training stands.

    Attributes:
        step: Steps taken.
        progress: Share of the time gone, 0..1.
        ratio: L1 error of the output over that of the input, per kind of crop; below one is learning.
        correction: Mean absolute change the network makes, in 0..1.
        pixels: Pixels trained on so far.
        gain_db: Latest validation: PSNR gained over the input, per name.
    """

    step: int
    progress: float
    ratio: dict[str, float]
    correction: float
    pixels: int
    gain_db: dict[str, float]


class Trainer:
    """Trains one student network.

    Args:
        config: The run.
        pool: Where patches come from.
        validation: Real pairs that are never trained on.
    """

    def __init__(self, config: TrainConfig, pool: CropPool, validation: Validation) -> None:
        torch.manual_seed(config.seed)
        self.config, self._pool, self._validation = config, pool, validation
        self.device = torch.device(config.device)
        self.model = Student(config.recipe.model).to(self.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = torch.optim.swa_utils.AveragedModel(
            self.model,
            multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.recipe.ema),  # type: ignore[no-untyped-call]
        )
        kernels = [parameter for parameter in self.model.parameters() if parameter.ndim > 1]
        biases = [parameter for parameter in self.model.parameters() if parameter.ndim == 1]
        rate = config.recipe.learning_rate
        self._optimizers: list[torch.optim.Optimizer] = [Muon(kernels, rate), torch.optim.AdamW(biases, rate)]
        self._step = 0
        self._elapsed_s = 0.0
        self._pixels = 0
        self._gain_db: dict[str, float] = {}
        self._rounded: QuantizedNetwork | None = None

    @property
    def _state_path(self) -> Path:
        return self.config.folder / "state.pt"

    def resume(self) -> None:
        """Go on from the state in the run's folder.

        Raises:
            InputError: There is none, or it is of another recipe.
        """
        if not self._state_path.is_file():
            raise InputError(f"nothing to resume in {self.config.folder}; leave out --resume to start a run")
        state: dict[str, Any] = torch.load(self._state_path, map_location=self.device, weights_only=True)
        if state["recipe"] != self.config.recipe.name:
            raise InputError(
                f"{self.config.folder} holds a run of {state['recipe']}, not of {self.config.recipe.name}; "
                "give another folder with -o"
            )
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._step, self._elapsed_s, self._pixels = state["step"], state["elapsed_s"], state["pixels"]
        torch.set_rng_state(state["rng"].cpu())
        self._pool.restart(self._step)

    def save(self) -> None:
        """Write the state beside and rename it, so that a killed run can go on."""
        state = {
            "recipe": self.config.recipe.name,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "step": self._step,
            "elapsed_s": self._elapsed_s,
            "pixels": self._pixels,
            "rng": torch.get_rng_state(),
        }
        part = self._state_path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self._state_path)

    def train(self, report: Callable[[Status], None]) -> Student:
        """Train until the time is up and return the averaged network.

        Args:
            report: Called every ``LOG_STEPS`` steps; what it raises ends the run, state saved.

        Raises:
            QualityError: The network is dead or the loss is not a number.
        """
        self.config.folder.mkdir(parents=True, exist_ok=True)
        saved = validated = time.monotonic()
        window = _Window()
        try:
            while self._progress < 1:
                started = time.monotonic()
                self._train_step(window)
                now = time.monotonic()
                self._elapsed_s += min(now - started, LONGEST_STEP_S)
                if now - validated > 60 * self.config.validate_minutes:
                    self._gain_db, validated = self.validate(), time.monotonic()
                if self._step % LOG_STEPS == 0:
                    self._report(window, report)
                    window = _Window()
                if now - saved > SAVE_S:
                    self.save()
                    saved = now
        finally:
            self.save()
        self._gain_db = self.validate()
        self._report(window, report)
        return self._averaged_student()

    @property
    def _progress(self) -> float:
        return min(1.0, self._elapsed_s / (self.config.hours * 3600))

    def _train_step(self, window: _Window) -> None:
        recipe = self.config.recipe
        count, side = recipe.patches_at(self._progress)
        blurred, sharp, kinds = self._pool.batch(count, side, recipe.shares_at(self._progress))
        blurred, sharp = blurred.to(self.device), sharp.to(self.device)
        for optimizer in self._optimizers:
            optimizer.param_groups[0]["lr"] = recipe.rate_at(self._step, self._progress)
            optimizer.zero_grad(set_to_none=True)
        restored = self._seen_through(blurred)(blurred)
        loss = charbonnier(restored, sharp, blurred)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        if torch.isfinite(norm):
            for optimizer in self._optimizers:
                optimizer.step()
            self.averaged.update_parameters(self.model)
        self._step += 1
        self._pixels += count * side * side
        window.add(restored.detach(), sharp, blurred, kinds)

    def _seen_through(self, blurred: Tensor) -> nn.Module:
        """The network itself; at the end of a run for 8 bits, the network as they round it."""
        if self.config.quantized is None or self._progress < 1 - INT8_SHARE:
            return self.model
        if self._rounded is None:
            self._rounded = rounded_network(self.model, self.config.quantized)
            size, shares = (len(blurred), blurred.shape[-1]), self.config.recipe.shares_at(self._progress)
            self._rounded.calibrate(self._pool.batch(*size, shares)[0] for _ in range(CALIBRATION_BATCHES))
        return self._rounded

    def _report(self, window: _Window, report: Callable[[Status], None]) -> None:
        status = Status(self._step, self._progress, window.ratios(), window.correction(), self._pixels, self._gain_db)
        line: dict[str, object] = {"step": status.step, "elapsed_s": round(self._elapsed_s), "pixels": status.pixels}
        line |= {"ratio": status.ratio, "correction": status.correction, "gain_db": status.gain_db}
        with (self.config.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        self._refuse_dead_run(window)
        report(status)

    def _refuse_dead_run(self, window: _Window) -> None:
        if not window.is_finite():
            raise QualityError(f"training diverged at step {self._step}; start again with another --seed")
        if self._step >= DEAD_STEPS and window.total_ratio() > DEAD_RATIO:
            raise QualityError(
                f"the network still leaves its input unchanged after {self._step} steps (error ratio "
                f"{window.total_ratio():.4f}); start again with another --seed"
            )

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """PSNR gained over the input by the averaged weights, dB, per validation pair."""
        network = self._averaged_student()
        return {name: gain_db(network, blurred, sharp) for name, blurred, sharp in self._validation}

    @property
    def gain_db(self) -> dict[str, float]:
        """The latest validation: PSNR gained over the input, dB, per pair."""
        return dict(self._gain_db)

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """The averaged weights as arrays, by parameter name."""
        state = self._averaged_student().state_dict()
        return {name: tensor.cpu().float().numpy() for name, tensor in state.items()}

    def account(self) -> dict[str, object]:
        """What the run has cost so far, for the files it writes."""
        hours = round(self._elapsed_s / 3600, 3)
        return {"steps": self._step, "pixels": self._pixels, "hours": hours, "seed": self.config.seed}

    def _averaged_student(self) -> Student:
        network = self.averaged.module
        assert isinstance(network, Student)
        return network.eval()


class _Window:
    """Error sums since the last report."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}
        self._correction: list[float] = []

    def add(self, restored: Tensor, sharp: Tensor, blurred: Tensor, kinds: list[str]) -> None:
        after = (restored - sharp).abs().mean(dim=(1, 2, 3)).tolist()
        before = (blurred - sharp).abs().mean(dim=(1, 2, 3)).tolist()
        self._correction.append(float((restored - blurred).abs().mean()))
        for kind, out, into in zip(kinds, after, before, strict=True):
            sums = self._sums.setdefault(kind, [0.0, 0.0])
            sums[0] += out
            sums[1] += into

    def ratios(self) -> dict[str, float]:
        return {kind: round(out / into, 4) for kind, (out, into) in sorted(self._sums.items()) if into > 0}

    def total_ratio(self) -> float:
        blurred = [sums for kind, sums in self._sums.items() if kind != "sharp"]
        return sum(out for out, _ in blurred) / max(sum(into for _, into in blurred), 1e-9)

    def correction(self) -> float:
        return round(sum(self._correction) / max(len(self._correction), 1), 5)

    def is_finite(self) -> bool:
        return bool(np.isfinite(self._correction).all())


def charbonnier(restored: Tensor, sharp: Tensor, blurred: Tensor) -> Tensor:
    """Smooth L1 error, each sample weighted so that strong blur does not drown mild blur.

    All three are ``float32 [batch, 3, height, width]``; returns a scalar.
    """
    error = torch.sqrt((restored - sharp) ** 2 + CHARBONNIER**2).mean(dim=(1, 2, 3))
    input_error = (blurred - sharp).abs().mean(dim=(1, 2, 3))
    return (error * torch.sqrt(0.03 / (input_error + 0.005))).mean()
