"""What is trained and how: one frozen record per shipped network."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..models.student_config import STUDENT_M, STUDENT_S, STUDENT_XS, StudentConfig

#: share of each kind of crop in a batch at the start and at the end of training
Shares = dict[str, tuple[float, float]]

DEFAULT_SHARES: Shares = {
    "real": (0.14, 0.32),
    "averaged": (0.12, 0.26),
    "field": (0.20, 0.15),
    "camera": (0.20, 0.12),
    "straight": (0.28, 0.08),
    "sharp": (0.06, 0.07),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a training run but its data, its seed and its length.

    Attributes:
        name: The recipe's name on the command line.
        ships_as: Name of the shipped model it makes.
        model: Size of the network.
        learning_rate: Of Muon, on the convolution kernels; AdamW moves the biases with the same.
        warmup_steps: Steps in which the rate rises from zero.
        decay_share: Last share of the run, in which the rate falls linearly to zero.
        batch: Patches per step.
        patch_px: Side of a patch.
        late_batch: Patches per step in the decay.
        late_patch_px: Side of a patch in the decay; long blur needs wide patches.
        ema: Share of the past the averaged weights keep each step.
        clip: Largest gradient norm.
        shares: How much of each kind a batch holds, at the start and at the end.
    """

    name: str
    ships_as: str
    model: StudentConfig
    learning_rate: float = 1.5e-3
    warmup_steps: int = 300
    decay_share: float = 0.3
    batch: int = 16
    patch_px: int = 128
    late_batch: int = 10
    late_patch_px: int = 160
    ema: float = 0.999
    clip: float = 1.0
    shares: Shares = field(default_factory=lambda: dict(DEFAULT_SHARES))

    def rate_at(self, step: int, progress: float) -> float:
        """Learning rate at ``step`` when ``progress`` (0..1) of the time is gone."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        left = min(1.0, max(0.0, (1 - progress) / self.decay_share))
        return self.learning_rate * warm * left

    def shares_at(self, progress: float) -> dict[str, float]:
        """Share of each kind when ``progress`` (0..1) of the time is gone; they sum to one."""
        mixed = {kind: first + (last - first) * progress for kind, (first, last) in self.shares.items()}
        total = sum(mixed.values())
        return {kind: share / total for kind, share in mixed.items()}

    def patches_at(self, progress: float) -> tuple[int, int]:
        """Patches per step and their side in pixels."""
        if progress < 1 - self.decay_share:
            return self.batch, self.patch_px
        return self.late_batch, self.late_patch_px


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("student-s", "default", STUDENT_S),
        Recipe("student-xs", "fast", STUDENT_XS),
        Recipe("student-m", "quality", STUDENT_M),
    )
}
