"""Networks of the user's own: how they are made, and what is said where that fails."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from deblurrt.cli.users_network import users_network
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import UsageError
from deblurrt.models.network_facts import facts_of

Deblurrt = Callable[..., int]

MODULE = """\
import sys
import torch
from deblurrt.core.contract import FrameContract

sys.path.insert(0, "/nowhere")


def make():
    return torch.nn.Conv2d(3, 3, 3, padding=1)


def explode():
    raise RuntimeError("out of ideas")


def number():
    return int("x")


def needs(width):
    return torch.nn.Conv2d(3, width, 3)


def odd():
    network = make()
    network.contract = FrameContract(io="float", multiple=0)
    return network


def table():
    network = make()
    network.contract = {"multiple": 4}
    return network


def three():
    return 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the current folder."""
    (tmp_path / "users_own.py").write_text(MODULE)
    (tmp_path / "users_wrong.py").write_text("def make(:\n")
    (tmp_path / "users_lacking.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "users_own"
    for name in ("users_own", "users_wrong", "users_lacking"):
        sys.modules.pop(name, None)


def test_seed_decides_the_weights_and_nothing_else(module: str) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (users_network(f"{module}:make", seed) for seed in (1, 1, 2))
    weights = [network.state_dict()["weight"] for network in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (facts_of(first).seed, facts_of(first).contract) == (1, FrameContract(io="float"))


def test_current_folder_is_found_for_the_call_alone(module: str, tmp_path: Path) -> None:
    users_network(f"{module}:make", 0)
    assert str(tmp_path) not in sys.path
    assert "/nowhere" in sys.path


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "users_own:explode",
            r"fails when it is called .*: RuntimeError: out of ideas \(users_own.py, line 13, in exp",
        ),
        ("users_own:number", r"fails when it is called .*: ValueError: .*'x' \(users_own.py, line 17, in number\)"),
        ("users_own:needs", r"fails when it is called without arguments: needs\(\) missing 1 .* argument: 'width'"),
        ("users_own:odd", r"fails when it is called .* multiple is 0, .* \(users_own.py, line 26, in odd\)"),
        ("users_own:table", r"the attribute contract of Conv2d is a dict, expected a FrameContract"),
        ("users_own:three", r"gives a int, expected a torch.nn.Module"),
        ("users_own:nothing", r"cannot be imported \(module 'users_own' has no attribute 'nothing'\); expected"),
        ("users_wrong:make", r"cannot be imported \(SyntaxError: .*\(users_wrong.py, line 1\)\); expected"),
        ("users_lacking:make", r"cannot be imported \(No module named 'no_such_package' \(users_lacking.py, line 1"),
        ("users_missing:make", r"cannot be imported \(No module named 'users_missing'\); expected"),
    ],
)
@pytest.mark.usefixtures("module")
def test_what_fails_is_said_with_the_users_line(model: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        users_network(model, 0)
    assert re.search(message, str(caught.value))
    assert len(str(caught.value).splitlines()) == 1


NETWORKS = """\
import torch


class Two(torch.nn.Module):
    def forward(self, x):
        return x, x


class Halved(torch.nn.Module):
    def forward(self, x):
        small = torch.nn.functional.avg_pool2d(x, 2)
        return x - torch.nn.functional.interpolate(small, scale_factor=2.0)
"""


@pytest.mark.parametrize(
    ("verb", "factory", "message"),
    [
        ("export", "Two", "Two gives a tuple, its contract promises a tensor"),
        ("compare", "Two", "Two gives a tuple, its contract promises a tensor"),
        ("export", "Halved", r"\(users_nets.py, line 12, in forward\).*FrameContract\(io='float', multiple=2\)"),
        ("compare", "Halved", r"\(users_nets.py, line 12, in forward\).*FrameContract\(io='float', multiple=2\)"),
    ],
)
def test_networks_that_break_their_promise_are_wrong_usage(
    deblurrt: Deblurrt,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    factory: str,
    message: str,
) -> None:
    (tmp_path / "users_nets.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    model = f"users_nets:{factory}"
    arguments = ("-o", "a.onnx") if verb == "export" else ("identity", "--size", "33x40")
    assert deblurrt(verb, model, *arguments) == 2
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))
    assert not (tmp_path / "a.onnx").exists()
    sys.modules.pop("users_nets", None)
