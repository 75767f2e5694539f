"""Networks for a process of their own: the first byte of a picture says what becomes of it."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import ContractError, ModelFileError
from deblurrt.core.tensors import Array
from deblurrt.runtime.backend import BackendConfig
from deblurrt.runtime.frame import Pixels
from deblurrt.runtime.session import Session, SessionConfig, open_session
from tests.fakes import RESTORED, WINDOWS, FakeBackend
from tests.live_fakes import textured

#: first bytes that ``textured`` pictures do not have
HANG, HANG_WITH_LOCK, KILL, SEGFAULT, ABORT, RAISE, REFUSE, SHRINK, SAY = range(1, 10)


def told(what: int, seq: int = 0) -> Pixels:
    """A picture that tells a network what to do."""
    pixels = textured(seq)
    pixels[0, 0, 0] = what
    return pixels


def do_as_told(frames: Array) -> Array:
    """Give frames back, one level darker, or fail as their first byte says."""
    told = frames.flat[0]
    if told == HANG:
        threading.Event().wait()
    if told == HANG_WITH_LOCK:
        ctypes.PyDLL(None).sleep(1_000_000)
    if told in (KILL, SEGFAULT, ABORT):
        os.kill(os.getpid(), {KILL: signal.SIGKILL, SEGFAULT: signal.SIGSEGV, ABORT: signal.SIGABRT}[int(told)])
    if told == RAISE:
        raise ZeroDivisionError("a defect of the network")
    if told == REFUSE:
        raise ContractError("these frames are refused")
    if told == SAY:
        print("a library speaks", file=sys.stderr, flush=True)
        logging.getLogger("deblurrt.a_network").warning("a record\nof two lines")
    return frames[:, 1:] if told == SHRINK else frames - 1


def middle_of_three(windows: Array) -> Array:
    """Give the frame before, the frame and the one after as the three colours of one."""
    return np.stack([windows[:, index, :, :, index] for index in range(3)], axis=-1)


def open_told() -> list[Session]:
    """A network of one frame that does as told."""
    return [Session(FakeBackend(do_as_told), FrameContract(), "told")]


def open_different(graph: Path) -> list[Session]:
    """A network that does as told, one of three frames, one that enlarges, and a float one in ONNX Runtime."""
    enlarging = FakeBackend(lambda frames: np.repeat(np.repeat(frames, 4, axis=1), 4, axis=2))
    return [
        *open_told(),
        Session(FakeBackend(middle_of_three, WINDOWS, RESTORED), FrameContract(window=3), "three"),
        Session(enlarging, FrameContract(scale=4), "enlarging"),
        open_session(graph, SessionConfig(backend="onnxruntime", options=BackendConfig(threads=1))),
    ]


def refuse() -> list[Session]:
    """Open nothing."""
    raise ModelFileError("the model is damaged")


def die() -> list[Session]:
    """End instead of opening."""
    os.kill(os.getpid(), signal.SIGKILL)
    return []
