"""Which variants are raced, and at which size."""

from __future__ import annotations

import pytest

from deblurrt.core.errors import UsageError
from deblurrt.models.zoo import ZOO
from deblurrt.models.zoo_facts import FACTS, NetworkFacts
from deblurrt.profiling.zoo_sizes import EAGER_GMAC_PER_S, STEPS, facts_of, frame_size, input_size, variants_called

FACTS_OF = {facts.label: facts for facts in FACTS}


def test_every_network_of_the_zoo_is_raced() -> None:
    assert {variant.model for variant in variants_called([])} == set(ZOO)


def test_local_pools_are_raced_where_they_are_published() -> None:
    assert {variant.label for variant in variants_called([]) if variant.tlsc} == {"mprnet-tlsc", "mprnet_sr-tlsc"}


def test_name_of_a_network_means_all_that_is_usually_raced_of_it() -> None:
    assert [variant.label for variant in variants_called(["mprnet"])] == ["mprnet", "mprnet-tlsc"]
    assert [variant.label for variant in variants_called(["wrcan"])] == ["wrcan"]


def test_any_variant_can_be_raced_by_its_name() -> None:
    assert [variant.label for variant in variants_called(["wrcan-tlsc"])] == ["wrcan-tlsc"]


def test_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"'kaist'; there are .*kaist_net"):
        variants_called(["kaist"])


@pytest.mark.parametrize("variant", variants_called([]), ids=lambda variant: variant.label)
def test_every_variant_has_its_facts(variant: object) -> None:
    facts = facts_of(variant)  # type: ignore[arg-type]
    assert facts.name in ZOO


@pytest.mark.parametrize("facts", FACTS, ids=lambda facts: facts.label)
@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_size_is_the_largest_that_can_be_afforded(facts: NetworkFacts, seconds: float) -> None:
    size = frame_size(facts, seconds)
    budget = seconds * EAGER_GMAC_PER_S * 1e9
    place = STEPS.index(size[1] // 16)
    assert size == (9 * STEPS[place], 16 * STEPS[place])
    assert facts.macs.at(*input_size(facts, size)) <= budget or place == len(STEPS) - 1
    assert place == 0 or facts.macs.at(*input_size(facts, (9 * STEPS[place - 1], 16 * STEPS[place - 1]))) > budget


@pytest.mark.parametrize("facts", FACTS, ids=lambda facts: facts.label)
def test_input_is_what_the_contract_allows(facts: NetworkFacts) -> None:
    for size in ((1, 1), (18, 32), (135, 240)):
        for side, filled in zip(size, input_size(facts, size), strict=True):
            assert filled % facts.contract.multiple == 0
            assert filled >= max(side, facts.contract.min_size)


def test_size_stays_within_the_largest() -> None:
    assert frame_size(FACTS_OF["default"], 3.0, (360, 640)) == (360, 640)
    assert frame_size(FACTS_OF["default"], 3.0, (359, 640)) == (270, 480)


def test_network_that_is_too_slow_gets_the_smallest_picture() -> None:
    assert frame_size(FACTS_OF["wrcan"], 1e-6) == (18, 32)
