"""PyTorch as a backend, so that a network is scored and run before it is exported."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..core.contract import FrameContract
from ..core.errors import BackendError
from ..core.tensors import Array, TensorSpec, check_inputs
from ..runtime.backend import BackendConfig
from ..runtime.session import Session
from .network import DeblurNetwork
from .network_facts import contract_of_network
from .torch_runs import run_network


class TorchBackend:
    """Runs a network in PyTorch, eagerly.

    Args:
        network: Moved to the device and put into evaluation mode.
        contract: Of the network.
        config: Threads and, as ``provider``, the device: ``cpu`` or ``cuda``.

    Raises:
        BackendError: The device is not there, or bf16 is asked for.
    """

    name = "torch"

    def __init__(self, network: torch.nn.Module, contract: FrameContract, config: BackendConfig) -> None:
        if config.precision == "bf16":
            raise BackendError("PyTorch networks run in fp32 here; use --precision fp32, or export the network")
        if config.provider not in ("cpu", "cuda"):
            raise BackendError(f"PyTorch has no provider {config.provider!r}, expected cpu or cuda")
        if config.provider == "cuda" and not torch.cuda.is_available():
            raise BackendError("PyTorch sees no CUDA device; use --provider cpu")
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self._contract = contract
        self._device = torch.device(config.provider)
        self._network: torch.nn.Module | None = network.to(self._device).eval()
        axes: tuple[int | str, ...] = ("batch", 3 * contract.window, "height", "width")
        self.inputs = (TensorSpec("frames", "float32", axes),)
        self.outputs = (TensorSpec("restored", "float32", ("batch", 3, "height", "width")),)
        self.description = f"PyTorch {torch.__version__} {config.provider} fp32, {torch.get_num_threads()} threads"

    def prepare(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Nothing to compile: PyTorch runs eagerly."""

    def run(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """Run once; the result is new memory."""
        check_inputs(self.inputs, arrays)
        if self._network is None:
            raise BackendError("the backend is closed")
        # a copy: the network may write into its input
        frames = torch.from_numpy(arrays["frames"].copy()).to(self._device)
        restored = run_network(self._network, frames, self._contract)
        return {"restored": restored.float().cpu().numpy()}

    def close(self) -> None:
        """Release the network; closing twice is fine."""
        self._network = None


def session_from_network(network: DeblurNetwork, name: str, config: BackendConfig | None = None) -> Session:
    """Open a session that runs a network in PyTorch.

    Args:
        network: With its weights.
        name: For reports.
        config: Threads and device.
    """
    contract = contract_of_network(network)
    return Session(TorchBackend(network, contract, config or BackendConfig()), contract, name)
