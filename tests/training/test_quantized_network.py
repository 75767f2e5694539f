"""Training through 8 bits: the placement of a file, rounding, gradients."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from deblurrt.calibration import FrameChoice, Quantization, QuantizeConfig, choose_frames
from deblurrt.calibration.number_forms import quantized_weights
from deblurrt.core.errors import UsageError
from deblurrt.export.student_graph import student_contract, student_model
from deblurrt.models.student import Student
from deblurrt.models.student_config import StudentConfig
from deblurrt.plugins.forward_convolutions import turned
from deblurrt.training.batches import CropPool
from deblurrt.training.quantized_network import (
    RANGES_EVERY,
    RANGES_KEPT,
    QuantizedNetwork,
    TrainedPlacement,
    trained_placement,
)
from deblurrt.training.recipe import Recipe
from deblurrt.training.trainer import TrainConfig, Trainer
from tests.calibration.small_networks import write_pairs

SMALL = StudentConfig(widths=(8, 16), encoder_blocks=(1, 1), decoder_blocks=(1,), unshuffle=2)
CONFIG = QuantizeConfig("openvino", method="minmax", with_bias_correction=False)


def student() -> Student:
    torch.manual_seed(0)
    return Student(SMALL, tail_gain=0.5)


def quantised_file(network: Student, folder: Path) -> onnx.ModelProto:
    weights = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    model = student_model(SMALL, weights, {}, io="float")
    contract = student_contract(SMALL, "float")
    frames = choose_frames(FrameChoice((write_pairs(folder / "pairs", 8),)), contract)
    quantised: onnx.ModelProto = Quantization(model, "small", contract, frames, CONFIG).run()
    return quantised


def test_placement_is_that_of_the_file(tmp_path: Path) -> None:
    network = student()
    placement = trained_placement(quantised_file(network, tmp_path), network)
    convolutions = {name for name, module in network.named_modules() if isinstance(module, torch.nn.Conv2d)}
    assert set(placement.weights) == convolutions
    assert set(placement.inputs) == convolutions | {"encoder.0.0", "encoder.1.0", "decoder.0.0"}


def test_rounded_network_is_near_the_float_one_and_not_equal(tmp_path: Path) -> None:
    network = student()
    rounded = QuantizedNetwork(network, trained_placement(quantised_file(network, tmp_path), network), CONFIG)
    batch = torch.rand(2, 3, 32, 32)
    rounded.calibrate([batch])
    difference = (rounded(batch) - network(batch)).abs().max().item()
    assert 0 < difference < 0.1


def test_gradients_reach_every_weight_and_weights_stay_the_networks_own(tmp_path: Path) -> None:
    network = student()
    names = set(network.state_dict())
    rounded = QuantizedNetwork(network, trained_placement(quantised_file(network, tmp_path), network), CONFIG)
    batch = torch.rand(2, 3, 32, 32)
    rounded.calibrate([batch])
    rounded(batch).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())
    assert set(network.state_dict()) == names


def test_weights_are_rounded_to_what_a_file_stores(tmp_path: Path) -> None:
    network = student()
    model = quantised_file(network, tmp_path)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    rounded = QuantizedNetwork(network, TrainedPlacement((), ("down.0",)), CONFIG)
    weights = rounded._weights("down.0", dict(network.named_parameters())).detach().numpy()
    steps = stored["down.0.weight/scale"].reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(weights, stored["down.0.weight/quantized"] * steps, atol=1e-6)


def nodes_of(model: onnx.ModelProto) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(node.op_type, node.name, tuple(node.input)) for node in model.graph.node]


def test_trained_network_gets_the_nodes_that_quantising_alone_gives(tmp_path: Path) -> None:
    network = student()
    before = quantised_file(network, tmp_path / "before")
    rounded = QuantizedNetwork(network, trained_placement(before, network), CONFIG)
    batch = torch.rand(2, 3, 32, 32)
    rounded.calibrate([batch])
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    for _ in range(2):
        optimizer.zero_grad()
        (rounded(batch) - batch).square().mean().backward()
        optimizer.step()
    after = quantised_file(network, tmp_path / "after")
    assert nodes_of(after) == nodes_of(before)
    stored = [{tensor.name: tensor.raw_data for tensor in model.graph.initializer} for model in (before, after)]
    assert stored[0].keys() == stored[1].keys()
    assert stored[0]["down.0.weight/quantized"] != stored[1]["down.0.weight/quantized"]


def test_ranges_are_those_of_all_batches_together() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1))
    rounded = QuantizedNetwork(network, TrainedPlacement(("0",), ("0",)), QuantizeConfig(method="minmax"))
    rounded.calibrate([torch.full((1, 1, 4, 4), level) for level in (0.5, 2.0, 1.0)])
    assert rounded._scales is not None
    assert rounded._scales["0"].high == pytest.approx(2.0, rel=1e-3)


def test_ranges_follow_the_network_slowly_while_it_trains_and_stand_still_otherwise() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1))
    rounded = QuantizedNetwork(network, TrainedPlacement(("0",), ("0",)), QuantizeConfig(method="minmax"))
    rounded.calibrate([torch.ones(1, 1, 4, 4)])
    assert rounded._scales is not None
    for is_training, expected in ((False, 1.0), (True, RANGES_KEPT * 1.0 + (1 - RANGES_KEPT) * 3.0)):
        rounded.train(is_training)
        for _ in range(RANGES_EVERY):
            rounded(torch.full((1, 1, 4, 4), 3.0))
        assert rounded._scales["0"].high == pytest.approx(expected, rel=1e-3)


def test_norms_of_batches_stay_as_a_file_has_them() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    rounded = QuantizedNetwork(network, TrainedPlacement(("0",), ("0",)), QuantizeConfig(method="minmax"))
    rounded.train()
    rounded.calibrate([torch.rand(2, 1, 4, 4)])
    rounded(torch.rand(2, 1, 4, 4) + 5)
    norm = network[1]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert not norm.running_mean.any()


@pytest.mark.parametrize(("side", "stride"), [(4, 2), (3, 2), (3, 1)])
def test_transposed_weights_are_rounded_as_their_plain_form_in_a_file(side: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = torch.nn.ConvTranspose2d(3, 2, side, stride=stride)
    config = QuantizeConfig(method="minmax")
    network = torch.nn.Sequential(layer)
    rounded = QuantizedNetwork(network, TrainedPlacement((), ("0",), {"0": stride}), config)
    rounded.calibrate([])
    weights = rounded._weights("0", dict(network.named_parameters())).detach().numpy()
    expected = quantized_weights(turned(layer.weight.detach().numpy(), stride), 0, config).restored
    np.testing.assert_allclose(turned(weights, stride), expected, atol=1e-6)


def test_weights_alone_train_where_activations_keep_16_bits() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3))
    rounded = QuantizedNetwork(network, TrainedPlacement((), ("0",)), QuantizeConfig(format="w8a16"))
    rounded.calibrate([])
    rounded(torch.rand(1, 1, 8, 8)).square().mean().backward()
    assert network[0].weight.grad is not None


def test_what_cannot_be_trained_through_is_refused() -> None:
    plain = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1))
    with pytest.raises(UsageError, match="8-bit floats are not trained through"):
        QuantizedNetwork(plain, TrainedPlacement((), ("0",)), QuantizeConfig(format="fp8"))
    normed = torch.nn.Sequential(torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv2d(1, 1, 1)))
    with pytest.raises(UsageError, match="weights of '0' are computed"):
        QuantizedNetwork(normed, TrainedPlacement((), ("0",)), QuantizeConfig())


def test_ranges_have_to_be_known() -> None:
    with pytest.raises(UsageError, match="ranges are not known yet"):
        QuantizedNetwork(student(), TrainedPlacement((), ("head",)), CONFIG)(torch.rand(1, 3, 16, 16))


def test_float_file_has_no_placement() -> None:
    network = student()
    weights = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    with pytest.raises(UsageError, match="no quantised layer"):
        trained_placement(student_model(SMALL, weights, {}, io="float"), network)


def test_last_part_of_a_run_trains_through_the_8_bits_of_a_file(
    tmp_path: Path, pool_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "int8.onnx"
    onnx.save(quantised_file(student(), tmp_path), path)
    recipe = Recipe("tiny", "tiny", SMALL, warmup_steps=2, batch=2, patch_px=32, late_batch=1, late_patch_px=48)
    config = TrainConfig(recipe, tmp_path / "run", hours=10 / 3600, quantized=path)
    seconds = count()
    monkeypatch.setattr("deblurrt.training.trainer.time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    picture = np.random.default_rng(0).integers(0, 256, (2, 30, 33, 3), dtype=np.uint8)
    trainer = Trainer(config, CropPool(pool_folder, 0), [("noise", picture[0], picture[1])])
    before = trainer.model.state_dict().keys()
    trainer.train(lambda _status: None)
    assert isinstance(trainer._rounded, QuantizedNetwork)
    assert trainer.model.state_dict().keys() == before
