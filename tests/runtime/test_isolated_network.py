"""Networks in a process of their own: the same pictures, errors and words as in this one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import BackendError, ContractError, ModelFileError, UsageError
from deblurrt.runtime import isolated_network
from deblurrt.runtime.isolated_network import IsolatedNetwork, open_isolated
from deblurrt.runtime.network_channel import MAX_BYTES
from deblurrt.runtime.session import Session
from tests.child_networks import ABORT, RAISE, REFUSE, SAY, SHRINK, die, open_different, open_told, refuse, told
from tests.fakes import fake_session
from tests.live_fakes import PATIENCE_S, textured
from tests.tiny_graphs import write_conv

Pair = tuple[Session, IsolatedNetwork]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Pair]]:
    """The same networks here and there."""
    kernel = np.random.default_rng(0).normal(0, 0.2, (3, 3, 3, 3)).astype(np.float32)
    graph = write_conv(tmp_path_factory.mktemp("graph") / "conv.onnx", kernel, FrameContract(io="float", range="0..1"))
    here, there = open_different(graph), open_isolated(partial(open_different, graph))
    assert [session.model for session in here] == ["told", "three", "enlarging", "conv.onnx"]
    yield {local.model: (local, remote) for local, remote in zip(here, there, strict=True)}
    for session in here:
        session.close()
    there[0].close()


@pytest.mark.parametrize("name", ["told", "three", "enlarging", "conv.onnx"])
def test_pictures_are_those_of_a_session(pairs: dict[str, Pair], name: str) -> None:
    local, remote = pairs[name]
    assert (remote.model, remote.contract, remote.batch_max) == (local.model, local.contract, local.batch_max)
    assert remote.description == f"{local.description}, in a process of its own"
    for size in ((48, 64), (31, 50), (480, 640), (48, 64)):  # memory grows, and is used again
        first, second, third = (textured(seq, size) for seq in range(3))
        remote.warm_up(size)
        assert np.array_equal(remote.restore(first), local.restore(first))
        assert np.array_equal(remote.restore(second, first, third), local.restore(second, first, third))
        expected = local.restore_batch([second, third], [first, None])
        assert all(map(np.array_equal, remote.restore_batch([second, third], [first, None]), expected))


def test_picture_is_memory_of_its_own(pairs: dict[str, Pair]) -> None:
    _, remote = pairs["told"]
    restored = remote.restore(textured(0))
    copy = restored.copy()
    remote.restore(textured(1))
    assert np.array_equal(restored, copy)


@pytest.mark.parametrize("name", ["told", "conv.onnx"])
def test_unfit_pictures_are_refused_alike(pairs: dict[str, Pair], name: str) -> None:
    good: Any = textured(0)
    for network in pairs[name]:
        for wrong in (good[..., :2], good.astype(np.float32), good[:0]):
            with pytest.raises(ContractError, match=r"expected uint8\[height, width, 3\]"):
                network.restore(wrong)
        with pytest.raises(ContractError, match="sizes"):
            network.restore_batch([good, good[:20]], [None, None])
    with pytest.raises(ContractError, match="neighbouring"):
        pairs["three"][1].restore(good, good[:20])
    local, remote = pairs[name]
    assert np.array_equal(local.restore(good), remote.restore(good))


@pytest.mark.parametrize(
    ("what", "kind", "text"),
    [
        (RAISE, BackendError, "a defect of the network"),
        (SHRINK, ContractError, "expected at least"),
        (REFUSE, ContractError, "these frames are refused"),
    ],
)
def test_what_a_network_raises_reaches_the_caller(
    pairs: dict[str, Pair], what: int, kind: type[Exception], text: str
) -> None:
    _, remote = pairs["told"]
    with pytest.raises(kind, match=text):
        remote.restore(told(what))
    assert np.array_equal(remote.restore(textured(0)), textured(0) - 1)
    assert remote.lost_reason == ""


def test_what_is_said_there_is_logged_here(pairs: dict[str, Pair], caplog: pytest.LogCaptureFixture) -> None:
    pairs["told"][1].restore(told(SAY))
    wait_until(lambda: len(caplog.records) >= 2)
    assert {(record.name, record.getMessage()) for record in caplog.records} == {
        ("deblurrt.a_network", "a record\nof two lines"),
        ("deblurrt.runtime.isolated_network", "the network's process: a library speaks"),
    }
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_process_that_ended_is_named_again_and_again() -> None:
    (network,) = open_isolated(open_told)
    for _ in range(2):
        with pytest.raises(BackendError, match="the network's process was ended by SIGABRT"):
            network.restore(told(ABORT))
        assert network.lost_reason == "the network's process was ended by SIGABRT"
    network.close()
    network.close()


@pytest.mark.parametrize(
    ("open_networks", "kind", "text"),
    [(refuse, ModelFileError, "damaged"), (die, BackendError, "ended by SIGKILL")],
)
def test_what_prevents_opening_reaches_the_caller(
    open_networks: Callable[[], list[Session]], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        open_isolated(open_networks)


def test_only_functions_of_modules_can_be_sent() -> None:
    with pytest.raises(UsageError, match="function of a module"):
        open_isolated(lambda: [fake_session()])


def test_what_is_too_much_to_send_is_refused() -> None:
    with pytest.raises(UsageError, match="131072; give names and paths"):
        open_isolated(partial(open_different, b"x" * MAX_BYTES))  # type: ignore[arg-type]


def test_opening_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated_network, "OPENING_S", 0.2)
    with pytest.raises(BackendError, match="not ready"):
        open_isolated(partial(time.sleep, 1000))  # type: ignore[arg-type]


def wait_until(is_so: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.01)
