from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import ContractError

OTHER_VALUES: dict[str, Any] = {
    "task": "deblur_sr",
    "window": 3,
    "scale": 4,
    "multiple": 1,
    "min_size": 16,
    "halo_px": 121,
    "io": "float",
    "color": "rgb",
    "range": "0..255",
    "pad": "none",
    "version": 1,
}


@pytest.mark.parametrize(
    "contract",
    [FrameContract(), FrameContract(**OTHER_VALUES), FrameContract(halo_px="width"), FrameContract(halo_px=0)],
)
def test_contract_survives_json_unchanged(contract: FrameContract) -> None:
    assert FrameContract.from_json(contract.to_json()) == contract


def test_json_is_one_line_with_every_field() -> None:
    text = FrameContract(**OTHER_VALUES).to_json()
    assert json.loads(text) == OTHER_VALUES
    assert "\n" not in text


def test_every_field_is_tried_with_another_value() -> None:
    assert asdict(FrameContract()).keys() == OTHER_VALUES.keys()


def test_fields_left_out_have_their_documented_defaults() -> None:
    assert FrameContract.from_json("{}") == FrameContract()


IMPOSSIBLE: list[tuple[str, Any]] = [
    ("version", 2),
    ("version", "1"),
    ("task", "denoise"),
    ("task", None),
    ("window", 2),
    ("window", 3.0),
    ("window", True),
    ("scale", 2),
    ("scale", 1.0),
    ("scale", True),
    ("scale", [1]),
    ("multiple", 0),
    ("multiple", -8),
    ("multiple", 8.0),
    ("multiple", "8"),
    ("multiple", True),
    ("min_size", 0),
    ("min_size", None),
    ("halo_px", -1),
    ("halo_px", 1.5),
    ("halo_px", "everywhere"),
    ("halo_px", None),
    ("halo_px", False),
    ("halo_px", []),
    ("io", "uint16"),
    ("color", "bgr"),
    ("range", "-1..1"),
    ("pad", "edge"),
]


@pytest.mark.parametrize(("name", "impossible"), IMPOSSIBLE)
def test_impossible_value_is_refused_by_name(name: str, impossible: object) -> None:
    with pytest.raises(ContractError) as caught:
        FrameContract.from_json(json.dumps({name: impossible}))
    assert str(caught.value).startswith(f"{name} is {impossible!r}, expected ")


def test_every_field_is_checked() -> None:
    assert {name for name, _ in IMPOSSIBLE} == set(asdict(FrameContract()))


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ContractError, match=r"unknown fields \['gamma', 'tiles'\]; update deblurrt"):
        FrameContract.from_json('{"tiles": 1, "task": "deblur", "gamma": 2.2}')


@pytest.mark.parametrize("text", ["", "{", "frames: uint8", '{"task": "deblur",}'])
def test_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match="the contract is not JSON"):
        FrameContract.from_json(text)


@pytest.mark.parametrize(("text", "kind"), [("[]", "list"), ("1", "int"), ("null", "NoneType"), ('"deblur"', "str")])
def test_json_that_is_no_object_is_refused(text: str, kind: str) -> None:
    with pytest.raises(ContractError, match=f"the contract is a {kind}, expected an object"):
        FrameContract.from_json(text)


def test_frames_that_are_never_padded_need_no_multiple() -> None:
    with pytest.raises(ContractError, match="pad is 'none' with a multiple of 16"):
        FrameContract(multiple=16, pad="none")
