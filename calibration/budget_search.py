"""Which layers stay float so that the picture keeps its decibels, and what the others save."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import QualityError
from .best_sets import largest_within
from .sites import Site

#: share of the multiply-accumulates in 8 bits below which a network is not worth the name
LEAST_SHARE = 0.5
#: sets that are tried because errors seen alone promise more, and how large a share more that has to be
PROMISED_SETS, LEAST_PROMISE = 6, 0.005
#: what a promise may cost, in budgets: errors together are not quite their sum
HOPES = tuple(1.25 - 0.01 * step for step in range(40))
#: bits of the types layers compute in
BITS = {"int8": 8, "fp8": 8, "w8a16": 16, "fp16": 16, "fp32": 32}

#: decibels that are lost with a set of sites
Lost = Callable[[frozenset[str]], float]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of quantised layers, measured on whole held-out frames.

    Attributes:
        chosen: Names of the nodes.
        lost_db: Decibels lost.
        share: Of the multiply-accumulates in 8 bits.
        saving: Estimated: bits times multiply-accumulates that are saved, as a share.
        is_best: Whether no other trial loses less and has a larger share.
    """

    chosen: frozenset[str]
    lost_db: float
    share: float
    saving: float
    is_best: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "lost_db": self.lost_db,
            "share_8bit": self.share,
            "estimated_saving": self.saving,
            "pareto": self.is_best,
            "layers": len(self.chosen),
        }


@dataclass(slots=True)
class BudgetSearch:
    """One search; every set is measured once, without skip branches whose convolution is not in it.

    Attributes:
        sites: All that can be quantised.
        lost: Measures a set on whole held-out frames.
        total_macs: Of the network, products that cannot be quantised included.
        formats: What quantised layers compute in, and what the others do.
        deadline_s: On the clock of ``time.perf_counter``; None: none.
        progress: Told what is done, how far, of how much.
    """

    sites: Sequence[Site]
    lost: Lost
    total_macs: int
    formats: tuple[str, str] = ("int8", "fp32")
    deadline_s: float | None = None
    progress: Progress = lambda _what, _done, _all: None
    trials: dict[frozenset[str], Trial] = field(default_factory=dict)
    is_cut_short: bool = False

    def try_set(self, chosen: Collection[str]) -> Trial:
        """Measure one set, or recall it."""
        partners = {site.name: site.partner for site in self.sites}
        present = {"", *chosen}
        key = frozenset(name for name in chosen if partners.get(name, "") in present)
        if key not in self.trials:
            self.trials[key] = Trial(key, self.lost(key), self.share(key), self._saving(key))
        return self.trials[key]

    def share(self, chosen: Collection[str]) -> float:
        """Share of the multiply-accumulates in 8 bits."""
        return sum(site.macs for site in self.sites if site.name in chosen) / max(self.total_macs, 1)

    def _saving(self, chosen: Collection[str]) -> float:
        low, high = (BITS[name] for name in self.formats)
        return self.share(chosen) * (1 - low / high)

    def run(self, budget_db: float, errors: Mapping[str, float]) -> Trial:
        """Find the largest share of multiply-accumulates in 8 bits that loses no more than the budget.

        Layers that err most for what they save leave first, until the rest meets the budget; then every one that
        left is tried again. Last come sets that should do better if errors added up as they were seen alone.

        Args:
            budget_db: Most decibels that may be lost.
            errors: Squared error each site adds alone.

        Raises:
            QualityError: Fewer than half of the multiply-accumulates can be in 8 bits; says what was reached.
        """
        order = sorted(self.sites, key=lambda site: (-errors.get(site.name, 0.0) / _gain(site), site.name))
        names = [site.name for site in order]
        found = self._shortest_leave(names, budget_db)
        found = self._taken_back(names, found, budget_db)
        self._try_promised(found, budget_db, errors)
        within = [trial for trial in self.trials.values() if trial.lost_db <= budget_db]
        found = max(within, key=lambda trial: (trial.share, len(trial.chosen), -trial.lost_db, sorted(trial.chosen)))
        if found.share < LEAST_SHARE:
            raise QualityError(self._refusal(budget_db))
        return found

    def _shortest_leave(self, names: Sequence[str], budget_db: float) -> Trial:
        """Halve the number of layers that leave until the smallest that is enough is found."""
        low, high = 0, len(names)
        best = self.try_set(names)
        if best.lost_db <= budget_db:
            return best
        nothing = Trial(frozenset(), 0.0, 0.0, 0.0)
        best = self.trials.setdefault(frozenset(), nothing)
        steps = max(len(names).bit_length(), 1)
        for step in range(steps):
            if high - low <= 1 or self._is_over():
                break
            self.progress("leaving layers out", step, steps)
            middle = (low + high) // 2
            trial = self.try_set(names[middle:])
            if trial.lost_db <= budget_db:
                best, high = trial, middle
            else:
                low = middle
        return best

    def _taken_back(self, names: Sequence[str], found: Trial, budget_db: float) -> Trial:
        """Try every layer that left again, those of most multiply-accumulates first."""
        by_name = {site.name: site for site in self.sites}
        left = [name for name in names if name not in found.chosen]
        left.sort(key=lambda name: (-by_name[name].macs, name))
        for index, name in enumerate(left):
            if self._is_over():
                break
            self.progress("taking layers back", index, len(left))
            trial = self.try_set(found.chosen | {name})
            if trial.lost_db <= budget_db:
                found = trial
        return found

    def _try_promised(self, found: Trial, budget_db: float, errors: Mapping[str, float]) -> None:
        """Try sets of a larger share that should meet the budget, those of most first where they are few."""
        promised = self._promised(found, budget_db, errors)
        for index in range(PROMISED_SETS):
            if not promised or self._is_over():
                return
            self.progress("exchanging layers", index, PROMISED_SETS)
            place = 0 if len(promised) <= PROMISED_SETS - index else len(promised) // 2
            is_within = self.try_set(promised[place]).lost_db <= budget_db
            promised = promised[:place] if is_within else promised[place + 1 :]

    def _promised(self, found: Trial, budget_db: float, errors: Mapping[str, float]) -> list[frozenset[str]]:
        """Name sets whose errors, seen alone and scaled to decibels, add up to about the budget; falling in share."""
        sites = [site for site in self.sites if site.macs]
        gains = [float(site.macs) for site in sites]
        costs = [errors.get(site.name, 0.0) for site in sites]

        def cost(trial: Trial) -> float:
            return sum(costs[place] for place, site in enumerate(sites) if site.name in trial.chosen)

        whole = self.try_set([site.name for site in self.sites])
        rate = (whole.lost_db - found.lost_db) / max(cost(whole) - cost(found), 1e-30)
        if rate <= 0:
            return []
        bound = cost(found) + (budget_db - found.lost_db) / rate
        skips = found.chosen - {site.name for site in sites}
        sets = {
            skips | {sites[place].name for place in largest_within(gains, costs, bound * hope)}: None for hope in HOPES
        }
        worthy = [chosen for chosen in sets if self.share(chosen) >= found.share + LEAST_PROMISE]
        return sorted(worthy, key=lambda chosen: (-self.share(chosen), sorted(chosen)))

    def _is_over(self) -> bool:
        is_over = self.deadline_s is not None and time.perf_counter() > self.deadline_s
        self.is_cut_short = self.is_cut_short or is_over
        return is_over

    def pareto(self) -> list[Trial]:
        """All trials, those that lose least first; marked where no other is better in both."""
        ordered = sorted(self.trials.values(), key=lambda trial: (trial.lost_db, -trial.share, sorted(trial.chosen)))
        marked, most = [], -1.0
        for trial in ordered:
            marked.append(Trial(trial.chosen, trial.lost_db, trial.share, trial.saving, trial.share > most))
            most = max(most, trial.share)
        return marked

    def _refusal(self, budget_db: float) -> str:
        worthy = [trial for trial in self.trials.values() if trial.share >= LEAST_SHARE]
        within = [trial for trial in self.trials.values() if trial.lost_db <= budget_db]
        least = min(worthy, key=lambda trial: trial.lost_db, default=None)
        most = max(within, key=lambda trial: trial.share, default=None)
        possible = self.share([site.name for site in self.sites])
        told = [f"the budget is {budget_db:g} dB"]
        if possible < LEAST_SHARE:
            told.append(f"but layers that can be quantised hold only {possible:.0%} of the products")
        if least is not None:
            told.append(f"the least lost was {least.lost_db:.3f} dB with {least.share:.0%} of the products in 8 bits")
        if most is not None:
            told.append(f"within the budget only {most.share:.0%} were, at least {LEAST_SHARE:.0%} are wanted")
        if possible < LEAST_SHARE:
            return ", ".join(told) + "; without --psnr-budget they are quantised all the same"
        hint = "; the time limit ended the search, give it more" if self.is_cut_short else ""
        return ", ".join(told) + hint + "; give a larger budget, more frames, or another --method"


def _gain(site: Site) -> float:
    """What a site saves, in multiply-accumulates; a skip branch saves moving its values."""
    return max(site.macs, site.values, 1)
