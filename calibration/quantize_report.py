"""What a quantisation found out, for tables, pages and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .budget_search import Trial
from .quality import Quality
from .quantize_config import QuantizeConfig
from .sites import Site
from .tensor_statistics import StatisticsKey


@dataclass(frozen=True, slots=True)
class QuantizeReport:
    """What a quantisation found out.

    Attributes:
        config: How it was done, as it turned out.
        key: What was calibrated on.
        notes: What a reader should know.
        sites: Every decision.
        chosen: Names of the nodes that were quantised.
        scales: Of activations: step, zero point, and the ends of what is told apart.
        share: Of the multiply-accumulates in 8 bits.
        quality: On held-out frames; None: there were none.
        trials: Sets of layers that were measured.
        errors: Squared error each site adds alone; empty where none was measured.
        signal_db: Signal over error behind each product.
        is_cut_short: Whether the time limit ended the search.
        seconds: What the work took, by part.
        refusal: Why no file was written; None: one was. Where the budget was not met, nothing is chosen.
    """

    config: QuantizeConfig
    key: StatisticsKey
    notes: tuple[str, ...]
    sites: tuple[Site, ...]
    chosen: frozenset[str]
    scales: dict[str, dict[str, float]]
    share: float
    quality: Quality | None
    trials: tuple[Trial, ...]
    errors: dict[str, float]
    signal_db: dict[str, float]
    is_cut_short: bool
    seconds: dict[str, float]
    refusal: str | None = None

    def is_taken(self, trial: Trial) -> bool:
        """Whether the file was made of a set that was measured."""
        return self.refusal is None and trial.chosen == self.chosen

    def reason(self, site: Site) -> str:
        """Why a site is quantised, or is not, as it turned out."""
        if self.refusal and not self.chosen and site.is_chosen:
            return "the budget was not met"
        if (site.name in self.chosen) == site.is_chosen:
            return site.reason
        if site.name in self.chosen:
            return "the budget allows it"
        if site.partner and site.partner not in self.chosen:
            return f"the convolution {site.partner} beside it is not quantised"
        return "left float by the search for the budget"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the loss first."""
        decisions = [
            {
                **{name: value for name, value in asdict(site).items() if name not in ("is_able", "is_chosen")},
                "reason": self.reason(site),
                "is_quantized": site.name in self.chosen,
                "error_alone": self.errors.get(site.name),
                "signal_over_error_db": self.signal_db.get(site.name),
            }
            for site in self.sites
        ]
        return {
            "lost_db": self.quality.lost_db if self.quality else None,
            "share_8bit": self.share,
            "refusal": self.refusal,
            "config": self.config.to_dict(),
            "calibration": {
                "frames": list(self.key.names),
                "frames_sha256": self.key.frames_sha256,
                "test_split": self.key.test_split,
            },
            "notes": list(self.notes),
            "quality": self.quality.to_dict() if self.quality else None,
            "trials": [trial.to_dict() | {"is_taken": self.is_taken(trial)} for trial in self.trials],
            "is_cut_short": self.is_cut_short,
            "decisions": decisions,
            "scales": self.scales,
            "seconds": self.seconds,
        }
