"""Networks in a process of their own: one that hangs is killed, one that crashes takes nothing with it."""

from __future__ import annotations

import json
import logging
import pickle
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from ..core.contract import FrameContract
from ..core.errors import BackendError, ContractError, UsageError
from .any_network import OpenNetworks
from .child_process import GRACE_S, ChildProcess
from .frame import Pixels
from .nameless_memory import receive_message, send_message
from .network_channel import MAX_BYTES, RECORD_MARK, Call, Opening, SharedPictures, Window, error_of_values, send_call
from .session import check_picture

logger = logging.getLogger(__name__)

_CHILD = "deblurrt.runtime.network_child"

#: how long opening may take before the process is given up: as long as preparing for a size
OPENING_S = 300.0


def isolated(open_networks: OpenNetworks) -> OpenNetworks:
    """Give a function that opens the same networks in a process of their own.

    Args:
        open_networks: A function of a module, or ``functools.partial`` of one, that gives sessions: it is called
            over there.

    Example:
        >>> reopen = isolated(partial(open_ladder, ["default", "fast"]))
    """
    return partial(open_isolated, open_networks)


def open_isolated(open_networks: OpenNetworks) -> list[IsolatedNetwork]:
    """Open networks in a process of their own; it ends when the first of them is closed.

    Raises:
        UsageError: ``open_networks`` cannot be sent to another process, or is too much to send.
        BackendError: The process ended, or was not ready in time.
        DeblurrtError: Whatever ``open_networks`` raises; what is no error of ours comes as ``BackendError``.
    """
    try:
        pickled = pickle.dumps(open_networks)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise UsageError(
            f"what opens the networks cannot be sent to another process ({error}); give a function of a module"
        ) from error
    level = logging.getLogger("deblurrt").getEffectiveLevel()
    message = pickle.dumps(Opening(tuple(sys.path), level, pickled))
    if len(message) > MAX_BYTES:
        raise UsageError(
            f"what opens the networks takes {len(message)} bytes to send, at most {MAX_BYTES}; give names and paths"
        )
    process = NetworkProcess()
    try:
        facts = process.open(message)
        return [IsolatedNetwork(process, index, values) for index, values in enumerate(facts)]
    except BaseException:
        process.end(0.0)
        raise


class NetworkProcess:
    """The process and the calls to it.

    Attributes:
        lost_reason: How it ended, once a call found that out; empty before.
    """

    def __init__(self) -> None:
        self.lost_reason = ""
        self._child = ChildProcess(_CHILD, _log_line)
        self._pictures = SharedPictures()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._child.pid

    def open(self, opening: bytes) -> list[dict[str, Any]]:
        """Open the networks as a pickled ``Opening`` says; gives what is known of each.

        Raises:
            BackendError: The process ended, or was not ready in time.
            DeblurrtError: It could not open them.
        """
        connection = self._child.connection
        connection.settimeout(OPENING_S)
        try:
            send_message(connection, opening)
        except OSError as error:
            raise self._lost() from error
        networks: list[dict[str, Any]] = self._answer()["networks"]
        connection.settimeout(None)
        return networks

    def warm_up(self, network: int, size: tuple[int, int]) -> dict[str, Any]:
        """Warm a network up; gives its answer."""
        return self._call(Call("warm_up", network, size), None)

    def restore(
        self, network: int, pictures: Sequence[Pixels], windows: tuple[Window, ...], scale: int
    ) -> tuple[list[Pixels], dict[str, Any]]:
        """Restore a picture for each window over ``pictures`` of one size; gives new memory, and the answer."""
        height, width = pictures[0].shape[:2]
        shape = (height * scale, width * scale, 3)
        handle, memory_bytes = self._pictures.put(pictures, len(windows) * shape[0] * shape[1] * 3)
        answer = self._call(Call("restore", network, (height, width), windows, memory_bytes), handle)
        return self._pictures.results(sum(pixels.nbytes for pixels in pictures), shape, len(windows)), answer

    def kill(self) -> None:
        """End the process at once, from any thread; whoever waits for it gets a ``BackendError``."""
        self._child.kill()

    def end(self, grace_s: float = GRACE_S) -> None:
        """End the process, by force if it is not gone after ``grace_s``; twice is fine."""
        self._child.end(grace_s)

    def _call(self, call: Call, handle: int | None) -> dict[str, Any]:
        try:
            send_call(self._child.connection, call, handle)
        except OSError as error:
            raise self._lost() from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        try:
            data, _ = receive_message(self._child.connection, MAX_BYTES)
        except TimeoutError as error:
            raise BackendError(f"the network's process was not ready after {OPENING_S:.0f} s") from error
        except OSError as error:
            raise self._lost() from error
        if not data:
            raise self._lost()
        values: dict[str, Any] = json.loads(data)
        if "error" in values:
            raise error_of_values(values)
        return values

    def _lost(self) -> BackendError:
        self.lost_reason = self.lost_reason or f"the network's process {self._child.fate()}"
        return BackendError(self.lost_reason)


class IsolatedNetwork:
    """One network of a process, with the interface of a ``Session``.

    Args:
        process: Where it runs; ended with this network, and with it the others of a ladder.
        index: Its number there.
        facts: What the process says of it.

    Attributes:
        model: Name for reports.
        contract: What it needs of frames.
        batch_max: Pictures one run takes; None for any number.
        description: Library, device, arithmetic and threads, for reports.
    """

    def __init__(self, process: NetworkProcess, index: int, facts: dict[str, Any]) -> None:
        self._process, self._index = process, index
        self.model: str = facts["model"]
        self.contract = FrameContract.from_json(facts["contract"])
        self.batch_max: int | None = facts["batch_max"]
        self._describe(facts)

    @property
    def lost_reason(self) -> str:
        """How the process ended; empty while no call found that it has."""
        return self._process.lost_reason

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def restore(self, pixels: Pixels, previous: Pixels | None = None, following: Pixels | None = None) -> Pixels:
        """Restore one picture, as ``Session.restore``; without a limit of time but for ``cancel``.

        Raises:
            ContractError: The pictures are of another type or of different sizes.
            BackendError: The network failed, or its process ended; ``lost_reason`` tells.
        """
        return self._restored([(pixels, previous, following)])[0]

    def restore_batch(self, pictures: Sequence[Pixels], previous: Sequence[Pixels | None]) -> list[Pixels]:
        """Restore pictures of one size in one run, as ``Session.restore_batch``.

        Raises:
            ContractError: The pictures are of another type or of different sizes, or too many.
            BackendError: The network failed, or its process ended; ``lost_reason`` tells.
        """
        return self._restored([(pixels, before, None) for pixels, before in zip(pictures, previous, strict=True)])

    def warm_up(self, size: tuple[int, int]) -> None:
        """Compile for frames of ``size`` (height, width) and run once."""
        self._describe(self._process.warm_up(self._index, size))

    def cancel(self) -> bool:
        """Kill the process, from any thread; a call that waits for it raises ``BackendError``."""
        self._process.kill()
        return True

    def close(self) -> None:
        """End the process; closing twice is fine."""
        self._process.end()

    def _restored(self, wanted: Sequence[tuple[Pixels, Pixels | None, Pixels | None]]) -> list[Pixels]:
        pictures: list[Pixels] = []
        windows: list[Window] = []

        def number_of(picture: Pixels | None, shape: tuple[int, ...]) -> int | None:
            if picture is None or self.contract.window == 1:
                return None
            check_picture(picture, shape)
            pictures.append(picture)
            return len(pictures) - 1

        for pixels, previous, following in wanted:
            check_picture(pixels, pixels.shape)
            pictures.append(pixels)
            windows.append((len(pictures) - 1, number_of(previous, pixels.shape), number_of(following, pixels.shape)))
        shapes = sorted({pixels.shape[:2] for pixels in pictures})
        if len(shapes) != 1:
            raise ContractError(f"the pictures of a batch are of the sizes {shapes}, expected one size")
        restored, answer = self._process.restore(self._index, pictures, tuple(windows), self.contract.scale)
        self._describe(answer)
        return restored

    def _describe(self, facts: dict[str, Any]) -> None:
        self.description = f"{facts['description']}, in a process of its own"


def _log_line(line: str) -> None:
    """Log what the process printed: a record of its own log, or a line of a library."""
    if line.startswith(RECORD_MARK):
        try:
            level, name, text = json.loads(line[len(RECORD_MARK) :])
        except ValueError:
            pass
        else:
            logging.getLogger(name).log(level, "%s", text)
            return
    if line:
        logger.warning("the network's process: %s", line)
