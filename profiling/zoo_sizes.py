"""Which variants of the zoo are raced, and how large a picture each is given; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import UsageError
from ..models.zoo_facts import FACTS, NetworkFacts
from .zoo_variants import VARIANTS, Variant

Size = tuple[int, int]

#: what PyTorch does on one thread of an older processor (AVX2, 2.5 GHz); decides sizes, no figure depends on it
EAGER_GMAC_PER_S = 20.0
#: heights over 9 and widths over 16 that are tried, largest first: 720x1280, 540x960, 360x640, ..., 18x32
STEPS = (80, 60, 40, 30, 20, 15, 10, 8, 6, 5, 4, 3, 2)
#: local pools of these are published; those of other networks are raced when asked for by name
PUBLISHED_TLSC = ("mprnet", "mprnet_sr")


def variants_called(names: Sequence[str]) -> list[Variant]:
    """Choose by name: of a network, what is usually raced of it; of a variant, that one.

    >>> [variant.label for variant in variants_called(["kaist_net"])]
    ['kaist_net', 'kaist_net-in_frames=3']

    Args:
        names: Such as ``mprnet`` or ``wrcan-tlsc``; none: all that are usually raced.

    Raises:
        UsageError: Nothing has that name.
    """
    known = {variant.label for variant in VARIANTS}
    if unknown := sorted(set(names) - known):
        raise UsageError(f"no network called {unknown[0]!r}; there are {', '.join(sorted(known))}")
    usual = [variant for variant in VARIANTS if not variant.tlsc or variant.model in PUBLISHED_TLSC]
    if not names:
        return usual
    return [variant for variant in VARIANTS if variant.label in names or (variant.model in names and variant in usual)]


def facts_of(variant: Variant) -> NetworkFacts:
    """What is known of a variant without making it; local pools cost no multiply-accumulates.

    Raises:
        UsageError: The table of facts lacks these options.
    """
    for facts in FACTS:
        if facts.name == variant.model and facts.options == dict(variant.options):
            return facts
    raise UsageError(f"nothing is known of {variant.label}; the networks are in models/zoo_facts.py")


def frame_size(facts: NetworkFacts, seconds: float, largest: Size = (720, 1280)) -> Size:
    """Choose the largest 16:9 picture that PyTorch should restore in a given time.

    Args:
        facts: Cost and contract of the network.
        seconds: What one run of PyTorch on one thread may take, by the number of multiply-accumulates.
        largest: Height and width not to exceed, pixels.

    Returns:
        Height and width, pixels; the smallest picture where all take longer.
    """
    sizes = [(9 * step, 16 * step) for step in STEPS]
    for size in sizes:
        macs = facts.macs.at(*input_size(facts, size))
        if size[0] <= largest[0] and size[1] <= largest[1] and macs <= seconds * EAGER_GMAC_PER_S * 1e9:
            return size
    return sizes[-1]


def input_size(facts: NetworkFacts, size: Size) -> Size:
    """Fill a picture up to what the bare network takes: its multiple, and its least size.

    Args:
        facts: Of the network.
        size: Height and width of the picture, pixels.
    """
    multiple = facts.contract.multiple
    tall, wide = (-(-max(side, facts.contract.min_size) // multiple) * multiple for side in size)
    return tall, wide
