"""Copies of networks for inference."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch
from torch import nn

from deblurrt.core.errors import UsageError
from deblurrt.models.network_copies import inference_copy, without_weight_norm

FRAMES = torch.rand(1, 3, 8, 8)


def normed() -> nn.Sequential:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = nn.utils.weight_norm(nn.Conv2d(3, 4, 3))
    return nn.Sequential(layer, nn.ReLU(), nn.Conv2d(4, 3, 1))


def test_network_with_weight_norm_is_copied_and_left_as_it_is() -> None:
    network = normed()
    layer = network[0]
    before = layer.weight
    expected = network(FRAMES)
    copied, plain = inference_copy(network), without_weight_norm(network)
    assert network.training
    assert layer.weight.grad_fn is not None
    assert sorted(network.state_dict()) == sorted(copied.state_dict())
    assert sorted(plain.state_dict()) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert torch.equal(copied(FRAMES), expected)
    torch.testing.assert_close(plain(FRAMES), expected)
    torch.testing.assert_close(plain[0].weight, before)


def test_what_cannot_be_copied_is_said() -> None:
    network = nn.Identity()
    network.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(UsageError, match=r"Identity cannot be copied \(cannot pickle '_thread.lock' object"):
        inference_copy(network)
