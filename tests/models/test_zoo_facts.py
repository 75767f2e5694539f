"""The zoo's table against the networks themselves."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import cast

import pytest
import torch

from deblurrt.core.artifacts import open_onnx
from deblurrt.core.errors import UsageError
from deblurrt.models import ZOO, create_model
from deblurrt.models.edpn import Edpn
from deblurrt.models.edpn_folding import fold_edpn
from deblurrt.models.network import DeblurNetwork
from deblurrt.models.reparameterise import mac_count, parameter_count
from deblurrt.models.zoo_facts import FACTS, NetworkFacts
from deblurrt.runtime.shipped_models import find_model

NETWORKS = [facts for facts in FACTS if not facts.ships]
#: input sizes that are multiples of 8, so that every network takes them
SIZES = [(120, 88), (720, 1280)]

#: published or counted on the authors' code: label -> parameters, GMAC for a restored picture of 720x1280
KNOWN = {
    "wrcan": (156_974_339, 9_227),
    "edpn_sr": (16_274_041, 1_620),
    "edpn_deblock": (16_207_481, 25_839),
    "edpn_sr_13m": (13_335_939, None),
    "eacd": (2_761_226, 4_732),
    "carlo_net": (2_663_555, 2_389),
    "kaist_net": (11_590_813, 825),
    "kaist_net(in_frames=3)": (11_595_613, 830),
    "atrous_net(blocks=5)": (12_571_011, 3_020),
    "atrous_net": (24_371_331, 5_738),
    "atrous_net(in_frames=3)": (24_433_539, 5_795),
    "mprnet": (20_127_073, 10_679),
    "mprnet_sr": (34_116_641, 1_497),
}
FOLDED_GMAC = {"edpn_sr": 673, "edpn_deblock": 10_677, "edpn_sr_13m": 598}
#: known figures are rounded to whole thousand millions
GMAC_ROUNDING = 0.5


def network_of(facts: NetworkFacts) -> DeblurNetwork:
    # the authors' EDPN computes its extractor, whose result nothing uses; costs are those of their code
    extra = {"use_extractor": True} if facts.name.startswith("edpn") else {}
    with torch.device("meta"):
        return create_model(facts.name, **facts.options, **extra)


def label(facts: NetworkFacts) -> str:
    return facts.label


def test_every_network_of_the_zoo_is_in_the_table() -> None:
    assert {facts.name for facts in NETWORKS} == set(ZOO)
    assert set(KNOWN) == {facts.label for facts in NETWORKS}


@pytest.mark.parametrize("facts", NETWORKS, ids=label)
def test_parameters_and_contract_are_the_networks(facts: NetworkFacts) -> None:
    with torch.device("meta"):
        network = create_model(facts.name, **facts.options)
    assert parameter_count(network) == facts.parameters == KNOWN[facts.label][0]
    assert network.contract == facts.contract


@pytest.mark.parametrize("facts", NETWORKS, ids=label)
def test_cost_is_exact_at_every_size(facts: NetworkFacts) -> None:
    network = network_of(facts)
    assert [facts.macs.at(*size) for size in SIZES] == [mac_count(network, size) for size in SIZES]


@pytest.mark.parametrize("facts", NETWORKS, ids=label)
def test_cost_at_720p_is_the_known_one(facts: NetworkFacts) -> None:
    known = KNOWN[facts.label][1]
    if known is not None:
        assert facts.gmac(720, 1280) == pytest.approx(known, abs=GMAC_ROUNDING)


@pytest.mark.parametrize("facts", [facts for facts in NETWORKS if facts.folded_macs], ids=label)
def test_folded_cost_is_exact_and_the_known_one(facts: NetworkFacts) -> None:
    with torch.device("meta"):
        folded = fold_edpn(cast(Edpn, create_model(facts.name)))
    assert facts.folded_macs is not None
    assert [facts.folded_macs.at(*size) for size in SIZES] == [mac_count(folded, size) for size in SIZES]
    assert facts.folded_gmac(720, 1280) == pytest.approx(FOLDED_GMAC[facts.name], abs=GMAC_ROUNDING)


@pytest.mark.parametrize("facts", [facts for facts in FACTS if facts.ships], ids=label)
def test_shipped_networks_are_the_shipped_files(facts: NetworkFacts) -> None:
    file = open_onnx(find_model(facts.name))
    assert file.contract is not None
    assert dataclasses.replace(file.contract, io="float", min_size=1) == facts.contract
    assert file.summary["parameters"] == facts.parameters


def test_input_is_filled_up_to_the_multiple() -> None:
    facts = next(facts for facts in FACTS if facts.name == "mprnet_sr")
    assert facts.gmac(720, 1280) == facts.gmac(736, 1280)


def test_size_that_no_input_gives_is_refused() -> None:
    facts = next(facts for facts in FACTS if facts.name == "edpn_sr")
    with pytest.raises(UsageError, match="721x1280 is no multiple of 4"):
        facts.gmac(721, 1280)


def test_the_page_of_the_networks_holds_the_same_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    for facts in FACTS:
        figures = f"| {facts.parameters:,} | {facts.gmac(720, 1280):,.0f} |"
        line = next(line for line in page.splitlines() if line.startswith(f"| `{facts.label}` |"))
        assert figures in line
        assert f"| {facts.contract.halo_px} | {facts.contract.multiple} |" in line
