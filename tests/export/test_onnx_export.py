"""The first stage of an export: what becomes of the network itself."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from torch import Tensor, nn

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import QualityError, UsageError
from deblurrt.export import onnx_export
from deblurrt.export.export_config import ExportConfig
from deblurrt.export.onnx_export import OnnxExport
from deblurrt.models.network import DeblurNetwork
from deblurrt.models.network_facts import tell
from tests.export.float_networks import contract_of, small_windows
from tests.export.float_networks import network as graph_of

CONTRACT = contract_of()


class Small(DeblurNetwork):
    """Works in place on what it is given."""

    contract = CONTRACT

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.head = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))

    def forward(self, frames: Tensor) -> Tensor:
        frames -= 0.5
        added: Tensor = self.head(frames)
        return frames + 0.1 * added[:, :3]


def work_of(network: DeblurNetwork) -> OnnxExport:
    return OnnxExport(network, ExportConfig(io="float"), small_windows(CONTRACT))


def test_network_that_works_in_place_with_weight_norm_is_proven_and_left_in_training() -> None:
    network = Small()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network.head[0] = nn.utils.weight_norm(network.head[0])
    assert network(torch.rand(2, 3, 9, 9)).grad_fn is not None
    work = work_of(network)
    work.run()
    assert network.training
    assert all(module.training for module in network.modules())
    assert [stage.name for stage in work.report().stages] == ["pytorch->onnx", "typed->lowered"]
    assert work.report().to_dict()["passed"] is True


def test_verdict_stays_where_the_search_for_the_module_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no such tensor")

    monkeypatch.setattr(onnx_export, "float_graph", lambda *_: graph_of(CONTRACT))
    monkeypatch.setattr(onnx_export, "first_divergence", fail)
    with pytest.raises(QualityError, match=r"^pytorch->onnx changes the result at .*; no bisection: no such tensor"):
        work_of(Small()).run()


def test_other_types_are_refused_before_the_tracer() -> None:
    class Half(Small):
        def forward(self, frames: Tensor) -> Tensor:
            return frames.half()

    with pytest.raises(UsageError, match=r"Half gives float16, expected float32; return restored.float\(\)"):
        work_of(Half()).run()


def test_file_says_the_seed_of_a_factory_unless_a_checkpoint_was_loaded() -> None:
    network = Small()
    tell(network, "seed", 3)
    told = work_of(network)._provenance
    assert (told["weights"], told["factory_seed"], told["model"]) == ("initial", 3, "Small")
    tell(network, "weights", "f" * 64)
    assert "factory_seed" not in work_of(network)._provenance


def test_attributes_of_the_users_own_are_no_provenance() -> None:
    network = nn.Conv2d(3, 3, 1)
    network.weights = nn.ParameterList([torch.ones(1)])
    network.__dict__["options"] = {"act": nn.ReLU()}
    work = OnnxExport(network, ExportConfig(io="float"), small_windows(CONTRACT))  # type: ignore[arg-type]
    assert json.loads(json.dumps(work._provenance))["weights"] == "unknown"
    assert work.contract == FrameContract(io="float")
