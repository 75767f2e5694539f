"""PyTorch as a backend."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import BackendError, ContractError
from deblurrt.models.network import DeblurNetwork
from deblurrt.models.torch_backend import TorchBackend, session_from_network
from deblurrt.runtime.backend import BackendConfig


class Middle(DeblurNetwork):
    """Gives the current of three frames, enlarged four times, minus a sixteenth of the previous."""

    contract = FrameContract(task="deblur_sr", window=3, scale=4, multiple=8, io="float")

    def forward(self, frames: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        assert not self.training
        picture = frames[:, 3:6] - frames[:, :3] / 16
        return picture.repeat_interleave(4, -1).repeat_interleave(4, -2)


class Broken(DeblurNetwork):
    contract = FrameContract(io="float")

    def forward(self, frames: Tensor) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


def picture(value: int) -> np.ndarray:
    return np.full((5, 9, 3), value, np.uint8)


def test_session_pads_stacks_and_crops_for_the_network() -> None:
    with session_from_network(Middle(), "middle") as session:
        restored = session.restore(picture(100), picture(160), picture(7))
    assert restored.shape == (20, 36, 3)
    assert np.all(restored == 90)


def test_missing_neighbours_are_the_frame_itself() -> None:
    with session_from_network(Middle(), "middle") as session:
        assert np.all(session.restore(picture(160)) == 150)


def test_description_names_library_device_and_threads() -> None:
    backend = TorchBackend(Middle(), Middle.contract, BackendConfig())
    assert backend.description == f"PyTorch {torch.__version__} cpu fp32, {torch.get_num_threads()} threads"


def test_wrong_arrays_are_refused() -> None:
    backend = TorchBackend(Middle(), Middle.contract, BackendConfig())
    with pytest.raises(ContractError, match="the network expects float32"):
        backend.run({"frames": np.zeros((1, 3, 8, 8), np.float32)})


def test_failure_of_the_network_is_a_backend_error_of_one_line() -> None:
    with session_from_network(Broken(), "broken") as session, pytest.raises(BackendError, match="can't allocate"):
        session.restore(picture(1))


def test_closed_backend_refuses_to_run() -> None:
    backend = TorchBackend(Middle(), Middle.contract, BackendConfig())
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.run({"frames": np.zeros((1, 9, 8, 8), np.float32)})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BackendConfig(precision="bf16"), "use --precision fp32"),
        (BackendConfig(provider="dml"), "expected cpu or cuda"),
    ],
)
def test_what_pytorch_cannot_do_is_said(config: BackendConfig, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        TorchBackend(Middle(), Middle.contract, config)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_cuda_device_is_said() -> None:
    with pytest.raises(BackendError, match="sees no CUDA device"):
        TorchBackend(Middle(), Middle.contract, BackendConfig(provider="cuda"))
