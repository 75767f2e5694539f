"""How much error each layer adds when it alone is quantised, and how far each is off in the whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from statistics import median
from typing import Any

import numpy as np

from ..core.contract import FrameContract
from ..core.pictures import Pixels
from ..core.tensors import Array
from ..datasets.evaluation import EXACT_DB
from ..runtime.session import prepare
from .clips import Window
from .frames import FrameList
from .graph_sessions import Restore, cropped, open_graph
from .graph_view import GraphView
from .quality import unit_mse
from .sites import Site

#: makes a network that restores with only these sites quantised
Opened = Callable[[Collection[str]], Restore]
Progress = Callable[[str, int, int], None]
#: values of both graphs together that are fetched in one go, so that a comparison stays small: 256 MiB
FETCHED_VALUES = 1 << 26
#: pieces of calibration frames that layers are compared on, and their largest side, pixels
PIECES, PIECE_PX = 3, 256


def float_pieces(
    frames: FrameList, restore: Restore, side_px: int, seed: int, fixed: tuple[int, int] | None
) -> Iterator[tuple[Window, Pixels]]:
    """Cut pieces out of frames spread over all, with what the float network makes of them.

    Args:
        frames: Those that are calibrated on.
        restore: The float network.
        side_px: Of the pieces, at most ``PIECE_PX``.
        seed: Of their places.
        fixed: Height and width the graph is fixed to.
    """
    rng = np.random.default_rng([seed, 1 << 16])
    wanted = sorted({int(place) for place in np.linspace(0, len(frames) - 1, min(PIECES, len(frames)))})
    for shot in replace(frames, places=tuple(frames.places[index] for index in wanted)):
        piece = cropped(shot.window, min(side_px, PIECE_PX), rng, fixed)
        yield piece, restore(piece)


def site_errors(
    sites: Sequence[Site],
    opened: Opened,
    pieces: Sequence[tuple[Window, Pixels]],
    deadline_s: float | None = None,
    progress: Progress = lambda _what, _done, _all: None,
) -> dict[str, float]:
    """Measure the squared error each site adds, values in 0..1.

    Args:
        sites: All that can be quantised, products before skip branches.
        opened: Gives the network with some of them quantised.
        pieces: Pieces of frames, and what the float network makes of them.
        deadline_s: When to stop, on the clock of ``time.perf_counter``; what is left gets the typical error for
            what it saves.
        progress: Told how far it is.
    """
    errors: dict[str, float] = {}
    for index, site in enumerate(sites):
        if deadline_s is not None and time.perf_counter() > deadline_s:
            break
        progress("measuring layers", index, len(sites))
        chosen = {site.name, site.partner} - {""}
        error = mean_error(opened(chosen), pieces)
        errors[site.name] = max(error - errors.get(site.partner, 0.0), 0.0)
    rates = [errors[site.name] / max(site.macs, site.values, 1) for site in sites if site.name in errors]
    for site in sites:
        errors.setdefault(site.name, (median(rates) if rates else 0.0) * max(site.macs, site.values, 1))
    return errors


def mean_error(restore: Restore, pieces: Sequence[tuple[Window, Pixels]]) -> float:
    """Mean squared error over pieces of frames, values in 0..1."""
    return float(np.mean([unit_mse(restore(window), before) for window, before in pieces]))


def layer_errors(
    floats: GraphView, quantized: Any, sizes: Mapping[str, int], window: Window, contract: FrameContract
) -> dict[str, float]:
    """Say how far the results of layers are off in the quantised graph, errors before them included.

    Args:
        floats: The float graph.
        quantized: ``onnx.ModelProto`` made of it.
        sizes: How many values the results of nodes have on such a piece, by name of the node.
        window: A piece of a frame.
        contract: Of both graphs.

    Returns:
        Signal over error in decibels, by name of the node; 100 at most.
    """
    feed = {floats.model.graph.input[0].name: prepare(list(window), contract)}
    values = [(node.name, node.output[0]) for node in floats.nodes if node.name in sizes]
    found: dict[str, float] = {}
    while values:
        totals = accumulate(2 * sizes[name] for name, _ in values)
        count = max(sum(total <= FETCHED_VALUES for total in totals), 1)
        part, values = values[:count], values[count:]
        pairs = [_fetched(model, [value for _, value in part], feed) for model in (floats.model, quantized)]
        for (name, _), before, after in zip(part, *pairs, strict=True):
            found[name] = _decibels(before, after)
    return found


def _fetched(model: Any, names: Sequence[str], feed: Mapping[str, Array]) -> list[Array]:
    shown = type(model)()
    shown.CopyFrom(model)
    given = {value.name for value in shown.graph.output}
    for name in names:
        if name not in given:
            shown.graph.output.add(name=name)
    return open_graph(shown, is_plain=True)(names, feed)


def _decibels(before: Array, after: Array) -> float:
    signal = float(np.mean(before.astype(np.float64) ** 2))
    error = float(np.mean((before.astype(np.float64) - after) ** 2))
    if not error or not signal:
        return EXACT_DB
    return float(np.clip(10 * np.log10(signal / error), -EXACT_DB, EXACT_DB))
