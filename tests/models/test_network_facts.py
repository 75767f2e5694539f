"""What networks say of themselves, and attributes of their own that only have the same names."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import UsageError
from deblurrt.models.network_facts import facts_of, tell
from deblurrt.models.tlsc_config import TlscConfig


def test_module_without_facts_has_the_plainest() -> None:
    facts = facts_of(nn.Conv2d(3, 3, 1))
    assert facts.contract == FrameContract(io="float")
    assert (facts.name, facts.weights, facts.options, facts.tlsc, facts.seed) == ("Conv2d", "", {}, None, None)


def test_facts_are_read_back() -> None:
    network, tlsc = nn.Identity(), TlscConfig((8, 8), (9, 9))
    for name, value in {"architecture": "mine", "weights": "f" * 64, "options": {"a": 1}, "tlsc": tlsc}.items():
        tell(network, name, value)
    tell(network, "seed", 3)
    facts = facts_of(network)
    assert (facts.name, facts.weights, facts.options, facts.tlsc, facts.seed) == ("mine", "f" * 64, {"a": 1}, tlsc, 3)


@pytest.mark.parametrize(
    "own", [nn.ParameterList([torch.ones(1)]), nn.Conv2d(3, 3, 1), 7, lambda: 1], ids=lambda own: type(own).__name__
)
def test_own_attributes_of_these_names_are_left_alone(own: Any) -> None:
    network = nn.Identity()
    for name in ("weights", "architecture", "options", "tlsc", "seed"):
        setattr(network, name, own)
    assert (facts_of(network).weights, facts_of(network).options, facts_of(network).tlsc) == ("", {}, None)
    tell(network, "weights", "f" * 64)
    tell(network, "seed", 5)
    assert network.weights is own
    assert network.seed is own
    assert (facts_of(network).weights, facts_of(network).seed) == ("f" * 64, 5)


@pytest.mark.parametrize("options", [{"act": nn.ReLU()}, {"dtype": torch.float32}, {1: 2, "a": 3}], ids=str)
def test_options_that_no_file_can_hold_are_left_out(options: dict[Any, Any]) -> None:
    network = nn.Identity()
    network.__dict__["options"] = options
    assert json.dumps(facts_of(network).options) == "{}"


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (
            {"multiple": 4},
            "the attribute contract of Identity is a dict, expected a FrameContract; set network.contract",
        ),
        (FrameContract(), "the contract of Identity says io='uint8', a network takes and gives floats; set"),
    ],
)
def test_unfit_contract_is_refused(contract: Any, message: str) -> None:
    network = nn.Identity()
    network.contract = contract
    with pytest.raises(UsageError) as caught:
        facts_of(network)
    assert str(caught.value).startswith(message)
