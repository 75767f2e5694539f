"""From a float file to one in 8 bits: calibrated, placed, searched, judged; and what was decided on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.contract import FrameContract
from ..core.errors import QualityError, UsageError
from ..core.pictures import Pixels
from ..plugins.forward_convolutions import forward_convolutions
from ..plugins.onnx_ops import add_bodies, uses_plugins
from .budget_search import LEAST_SHARE, BudgetSearch
from .calibrator import SEEN_PX, CalibrationRun, calibrate, looked_at, seen_shapes
from .clips import Window
from .equalisation import Judged, decide, equalise
from .file_facts import check_float, describe
from .frames import Frames
from .graph_sessions import Restore, cropped, fixed_size, open_restorer
from .graph_view import GraphView
from .placement import place
from .qdq_graph import KnownForms, QuantizedGraph, quantize_graph
from .quality import Judge, Quality, RestoredFrame
from .quantize_config import QuantizeConfig
from .quantize_report import QuantizeReport
from .sensitivity import float_pieces, layer_errors, mean_error, site_errors
from .sites import find_sites
from .tensor_statistics import (
    Statistics,
    StatisticsKey,
    check_key,
    load_statistics,
    network_sha256,
    save_statistics,
)

#: told what is done, how far, of how much
Progress = Callable[[str, int, int], None]


class Quantization:
    """One quantisation.

    Args:
        model: ``onnx.ModelProto`` in float32; used up.
        name: Of it, for messages.
        contract: Its own.
        frames: What it is calibrated and judged on; None takes complete statistics and judges nothing.
        config: How.
        statistics: File of statistics: read where it is there, written where it is not; None: nowhere.
        progress: Told what is done.

    Raises:
        UsageError: The file is quantised or in half precision already, or frames are needed and missing.
        InputError: The statistics are of something else.
    """

    def __init__(
        self,
        model: Any,
        name: str,
        contract: FrameContract,
        frames: Frames | None,
        config: QuantizeConfig,
        statistics: Path | None = None,
        progress: Progress = lambda _what, _done, _all: None,
    ) -> None:
        check_float(model, name)
        if uses_plugins(model) and not model.functions:
            model = add_bodies(model)
        self._contract, self._frames, self._config, self._place = contract, frames, config, statistics
        self._progress, self._is_int8 = progress, config.format == "int8"
        self._notes = list(frames.notes) if frames else []
        self._model = forward_convolutions(model)
        self._seconds: dict[str, float] = {}
        self._known = KnownForms()
        self._pieces: list[tuple[Window, Pixels]] = []
        self._judge: Judge | None = None
        self._restore: Restore | None = None
        self._report: QuantizeReport | None = None

    def report(self) -> QuantizeReport:
        """Say what was found out; there once ``run`` is over, a budget that cannot be met included."""
        if self._report is None:
            raise UsageError("nothing was quantised yet; call run() first")
        return self._report

    def run(self) -> Any:
        """Calibrate, place, search where a budget is given, judge.

        Returns:
            ``onnx.ModelProto`` with contract, provenance and summary.

        Raises:
            QualityError: The budget cannot be met.
            ModelFileError: The network cannot be run on the frames.
        """
        started = time.perf_counter()
        self._view = GraphView(self._model)
        shapes = self._shapes = seen_shapes(self._model, self._contract)
        self._sites = find_sites(self._view, shapes, self._config)
        self._total = sum(site.macs for site in self._sites)
        if not any(site.is_able for site in self._sites):
            raise UsageError("no layer can be quantised; the report of deblurrt inspect lists the operators")
        self._pieces = self._float_pieces()
        self._statistics = self._calibrated(looked_at(self._view, shapes))
        self._equalise()
        self._seconds["calibration"] = time.perf_counter() - started
        self._judge_by_float()
        search = self._search()
        try:
            chosen = self._decided(search)
        except QualityError as error:
            self._seconds["total"] = time.perf_counter() - started
            self._report = replace(self._told(frozenset(), search, None, None), refusal=str(error))
            raise
        graph = self._quantized(chosen)
        quality = self._quality(graph.model)
        share = search.share(chosen)
        describe(graph.model, self._statistics.key, self._config, share, quality.lost_db if quality else None)
        self._seconds["total"] = time.perf_counter() - started
        self._report = self._told(chosen, search, graph, quality)
        return graph.model

    def _calibrated(self, names: list[str]) -> Statistics:
        known = load_statistics(self._place) if self._place is not None and self._place.is_file() else None
        digest = network_sha256(self._model, self._contract)
        if self._frames is None:
            if known is None or not known.is_complete:
                raise UsageError("no frames to calibrate on; give --data, or --statistics of a whole calibration")
            if known.key.model_sha256 != digest and self._place is not None:
                check_key(known.key, replace(known.key, model_sha256=digest), self._place)
            self._config = replace(self._config, seed=known.key.seed, crop_px=known.key.crop_px)
            return self._taken_again(known)
        config, frames = self._config, self._frames
        key = StatisticsKey(digest, frames.sha256, frames.names, config.seed, config.crop_px, frames.test_split)
        if known is not None and self._place is not None:
            check_key(known.key, key, self._place)
            known = replace(known, key=key)
        run = CalibrationRun(self._model, self._contract, frames, config.seed, config.crop_px, self._place)
        if known is None or not known.is_complete:
            known = calibrate(run, names, key, known, lambda done, total: self._progress("calibrating", done, total))
        else:
            known = self._taken_again(known)
        return self._decided_for(known, run)

    def _taken_again(self, known: Statistics) -> Statistics:
        with_channels = ", channels equalised as decided there" if known.factors and self._is_int8 else ""
        self._notes.append(f"the statistics of an earlier calibration were taken{with_channels}")
        return known

    def _decided_for(self, seen: Statistics, run: CalibrationRun) -> Statistics:
        """Decide whether equalising channels lowers the error; other forms than 8-bit integers gain nothing by it."""
        if seen.factors is not None or not self._is_int8:
            return seen
        judged = Judged(run, self._shapes, self._pieces)
        seen, note = decide(seen, judged, lambda done, total: self._progress("equalising channels", done, total))
        self._notes += [note] if note else []
        if self._place is not None:
            save_statistics(seen, self._place)
        return seen

    def _equalise(self) -> None:
        """Equalise channels as was decided, for 8-bit integers alone."""
        seen = self._statistics
        self._histograms = seen.histograms | (seen.equalised if self._is_int8 else {})
        self._model = equalise(self._model, (seen.factors or {}) if self._is_int8 else {})
        self._view = GraphView(self._model)

    def _float_pieces(self) -> list[tuple[Window, Pixels]]:
        if self._frames is None:
            return []
        fixed, config = fixed_size(self._model, self._contract), self._config
        restore = self._restorer(self._model)
        return list(float_pieces(self._frames.calibration, restore, config.crop_px, config.seed, fixed))

    def _judge_by_float(self) -> None:
        if self._frames is not None and len(self._frames.held_out):
            self._progress("restoring held-out frames", 0, 1)
            self._judge = Judge.of(self._restorer(self._model), self._frames.held_out)

    def _restorer(self, model: Any) -> Restore:
        return open_restorer(model, self._contract, is_plain=self._config.format == "fp8")

    def _quantized(self, chosen: Collection[str]) -> QuantizedGraph:
        placement = place(self._view, self._sites, chosen, self._config)
        return quantize_graph(self._view, placement, self._histograms, self._config, self._known)

    def _opened(self, chosen: Collection[str]) -> Restore:
        return self._restorer(self._quantized(chosen).model)

    def _search(self) -> BudgetSearch:
        able = [site for site in self._sites if site.is_able and site.is_worth]
        limit = self._config.time_limit_s
        deadline = None if limit is None else time.perf_counter() + limit
        judge = self._judge

        def lost(chosen: frozenset[str]) -> float:
            return judge.lost_db(self._opened(chosen)) if judge is not None and chosen else 0.0

        formats = (self._config.format, self._config.rest)
        return BudgetSearch(able, lost, self._total, formats, deadline, self._progress)

    def _decided(self, search: BudgetSearch) -> frozenset[str]:
        """Names of the nodes that are quantised: the default, or what the budget allows."""
        default = frozenset(site.name for site in self._sites if site.is_chosen)
        self._errors: dict[str, float] = {}
        self._mend_biases(default)
        budget = self._config.psnr_budget_db
        if budget is None:
            return default
        if self._judge is None:
            raise UsageError("a budget of decibels wants held-out frames; give more with --data")
        started = time.perf_counter()
        everything = search.try_set([site.name for site in search.sites])
        if everything.lost_db <= budget and everything.share >= LEAST_SHARE:
            return everything.chosen
        search.try_set(default)
        self._errors = site_errors(search.sites, self._opened, self._pieces, search.deadline_s, self._progress)
        found = search.run(budget, self._errors)
        if search.trials[default].lost_db <= budget and search.trials[default].share >= found.share:
            found = search.trials[default]
        self._seconds["search"] = time.perf_counter() - started
        return found.chosen

    def _mend_biases(self, default: frozenset[str]) -> None:
        """Leave the correction of biases out where it does not help."""
        if not self._config.with_bias_correction or not self._pieces or not default:
            return
        errors = []
        for is_mended in (True, False):
            self._config = replace(self._config, with_bias_correction=is_mended)
            errors.append(mean_error(self._opened(default), self._pieces))
        is_better = errors[0] < errors[1]
        self._config = replace(self._config, with_bias_correction=is_better)
        self._notes.append(
            f"correcting biases {'helps' if is_better else 'does not help'}: squared error {errors[0]:.3g} with it, "
            f"{errors[1]:.3g} without"
        )

    def _quality(self, model: Any) -> Quality | None:
        if self._judge is None:
            return None
        self._progress("judging", 0, 1)
        self._restore = self._restorer(model)
        return self._judge.quality(self._restore)

    @property
    def floats(self) -> Any:
        """The float graph the quantised one was made of, its layers named as there: ``onnx.ModelProto``."""
        return self._model

    @property
    def piece_windows(self) -> list[Window]:
        """Pieces of frames that were compared; none before ``run``, or without frames."""
        return [window for window, _ in self._pieces]

    def worst_frames(self, count: int) -> list[RestoredFrame]:
        """Restore the held-out frames that lost most anew, the worst first; none where none is held out."""
        quality = self.report().quality
        if self._judge is None or self._restore is None or quality is None:
            return []
        order = sorted(range(len(quality.frames)), key=lambda index: -quality.frames[index].lost_db)
        shots, before = self._judge.shots, self._judge.restored
        return [
            RestoredFrame(shots[index].name, shots[index].pixels, before[index], self._restore(shots[index].window))
            for index in order[:count]
        ]

    def _told(
        self, chosen: frozenset[str], search: BudgetSearch, graph: QuantizedGraph | None, quality: Quality | None
    ) -> QuantizeReport:
        products = [site.name for site in self._sites if site.kind == "product"]
        sizes = {name: math.prod(self._shapes[self._view.by_name[name].output[0]]) for name in products}
        signal = {}
        if self._pieces and graph is not None:
            fixed, rng = fixed_size(self._model, self._contract), np.random.default_rng(self._config.seed)
            piece = cropped(self._pieces[0][0], SEEN_PX, rng, fixed)
            signal = layer_errors(self._view, graph.model, sizes, piece, self._contract)
        return QuantizeReport(
            config=self._config,
            key=self._statistics.key,
            notes=tuple(self._notes),
            sites=tuple(self._sites),
            chosen=chosen,
            scales={name: asdict(scale) for name, scale in sorted(graph.scales.items())} if graph else {},
            share=search.share(chosen),
            quality=quality,
            trials=tuple(search.pareto()),
            errors=self._errors,
            signal_db=signal,
            is_cut_short=search.is_cut_short,
            seconds={name: round(value, 2) for name, value in self._seconds.items()},
        )
