"""WRCAN against a plain recomputation, and the sizes the paper gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.export import Dim, export
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import UsageError
from deblurrt.models.reparameterise import mac_count, parameter_count
from deblurrt.models.wrcan import Wrcan
from deblurrt.models.zoo import create_model
from tests.models.small_zoo import SMALL

State = dict[str, Tensor]

#: float32 sums of another order; the picture's values are about 1
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def full_size() -> Wrcan:
    with torch.device("meta"):
        return Wrcan()


@pytest.fixture(scope="module")
def small() -> Wrcan:
    network = create_model("wrcan", **SMALL["wrcan"])
    assert isinstance(network, Wrcan)
    return network


def pictures(height: int, width: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def convolved(state: State, key: str, x: Tensor, *, stride: int = 1, dilation: int = 1) -> Tensor:
    weight = state[f"{key}.weight"]
    return functional.conv2d(x, weight, state[f"{key}.bias"], stride, dilation * (weight.shape[-1] // 2), dilation)


def wide_block(state: State, key: str, x: Tensor) -> Tensor:
    branches = [
        convolved(state, f"{key}.dilated_parallel.{place}.0", x, dilation=place + 1).clamp(min=0) for place in range(4)
    ]
    joined = convolved(state, f"{key}.shrink.0", torch.cat(branches, dim=1))
    hidden = convolved(state, f"{key}.channel_attention.0.conv_du.0", joined.mean((2, 3), keepdim=True)).clamp(min=0)
    gate = torch.sigmoid(convolved(state, f"{key}.channel_attention.0.conv_du.2", hidden))
    return joined * gate + x


def trunk(state: State, x: Tensor, groups: int, blocks: int) -> Tensor:
    result = x
    for group in range(groups):
        inner = result
        for block in range(blocks):
            inner = wide_block(state, f"body.{group}.body.{block}", inner)
        result = convolved(state, f"body.{group}.body.{blocks}", inner) + result
    return convolved(state, f"body.{groups}", result) + x


def recomputed(state: State, frames: Tensor, *, groups: int = 2, blocks: int = 2, with_trunk: bool = True) -> Tensor:
    head = convolved(state, "head.0", frames)
    skip0 = convolved(state, "encoder.0.layers.0", head).clamp(min=0)
    skip1 = convolved(state, "encoder.1.layers.0", convolved(state, "encoder.0.pool.0", skip0, stride=2)).clamp(min=0)
    x = convolved(state, "body_exp.0", convolved(state, "encoder.1.pool.0", skip1, stride=2))
    if with_trunk:
        x = trunk(state, x, groups, blocks)
    for level, skip in enumerate([skip1, skip0]):
        raised = functional.pixel_shuffle(convolved(state, f"decoder.{level}.upsampler.0.0", x), 2)
        x = convolved(state, f"decoder.{level}.layers.0", torch.cat([skip, raised], dim=1)).clamp(min=0)
    return convolved(state, "tail.0", x + head)


@pytest.mark.parametrize(
    ("part", "parameters"),
    [
        ("head", 1_792),
        ("encoder.0", 73_856),
        ("encoder.1", 221_440),
        ("body_exp", 295_168),
        ("body.0.body.0", 2_368_528),
        ("body.0", 38_486_528),
        ("body.4", 590_080),
        ("decoder.0", 1_475_200),
        ("decoder.1", 368_960),
        ("tail", 1_731),
        ("", 156_974_339),
    ],
)
def test_part_has_the_authors_number_of_parameters(full_size: Wrcan, part: str, parameters: int) -> None:
    assert parameter_count(full_size.get_submodule(part)) == parameters


def test_checkpoint_holds_928_tensors_and_no_buffer(full_size: Wrcan) -> None:
    assert len(full_size.state_dict()) == 928
    assert list(full_size.buffers()) == []


def test_cost_is_that_of_the_authors_code(full_size: Wrcan) -> None:
    quarter = (396, 676)
    costs = [mac_count(full_size, size) / 1e9 for size in ((720, 1280), quarter)]
    assert costs == pytest.approx([9_227, 2_680], abs=0.5)


def test_path_without_the_trunk_costs_360_gmac(full_size: Wrcan) -> None:
    frames = torch.empty(1, 3, 720, 1280, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        full_size.autoencode(frames)
    assert counter.get_total_flops() / 2e9 == pytest.approx(360, abs=0.5)


def test_contract_is_of_one_frame_in_steps_of_4_that_sees_everything(small: Wrcan) -> None:
    assert small.contract == FrameContract(task="deblur_jpeg", multiple=4, halo_px="global", io="float")


@pytest.mark.parametrize("size", [(4, 4), (16, 20), (28, 12)])
def test_restored_picture_is_the_recomputed_one(small: Wrcan, size: tuple[int, int]) -> None:
    frames = pictures(*size)
    with torch.no_grad():
        restored = small(frames)
        expected = recomputed(small.state_dict(), frames)
    torch.testing.assert_close(restored, expected, rtol=0, atol=ROUNDING)


def test_autoencoder_is_the_recomputed_one(small: Wrcan) -> None:
    frames = pictures(16, 20)
    with torch.no_grad():
        drawn = small.autoencode(frames)
        expected = recomputed(small.state_dict(), frames, with_trunk=False)
    torch.testing.assert_close(drawn, expected, rtol=0, atol=ROUNDING)


def test_autoencoder_trains_all_but_the_trunk(full_size: Wrcan) -> None:
    network = Wrcan(n_feats=4, n_resgroups=1, n_resblocks=1)
    torch.autograd.backward(network.autoencode(pictures(8, 8)).square().mean())
    without = {key for key, parameter in network.named_parameters() if parameter.grad is None}
    assert without == {key for key, _ in network.named_parameters() if key.startswith("body.")}
    on_path = [value.numel() for key, value in full_size.named_parameters() if not key.startswith("body.")]
    assert sum(on_path) == 2_438_147


def test_all_that_the_authors_return_is_the_picture(small: Wrcan) -> None:
    frames = pictures(8, 8)
    with torch.no_grad():
        assert torch.equal(small.forward_all(frames), small(frames))


def test_result_is_not_clamped(small: Wrcan) -> None:
    with torch.no_grad():
        assert small(pictures(8, 8) * 4).max() > 1


@pytest.mark.parametrize("size", [(18, 16), (16, 19), (7, 8)])
def test_other_sizes_than_multiples_of_4_fail(small: Wrcan, size: tuple[int, int]) -> None:
    with torch.no_grad(), pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        small(pictures(*size))


def test_one_pixel_changes_the_farthest_one(small: Wrcan) -> None:
    frames = pictures(8, 256, count=1)
    dotted = frames.clone()
    dotted[..., 0] = 1 - dotted[..., 0]
    with torch.no_grad():
        changed = (small(frames) - small(dotted)).abs().amax(dim=(0, 1, 2))
    assert float(changed[-1]) > 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_feats": 4, "n_resgroups": 2, "n_resblocks": 3},
        {"n_feats": 8, "n_resgroups": 11, "n_resblocks": 1},
        {"n_resblocks": 1},
    ],
)
def test_options_are_read_off_the_weights(options: dict[str, int]) -> None:
    with torch.device("meta"):
        assert Wrcan.options_of(Wrcan(**options).state_dict()) == options


def test_foreign_weights_are_not_recognised(small: Wrcan) -> None:
    state = small.state_dict()
    assert Wrcan.options_of({}) is None
    assert Wrcan.options_of({"head.0.weight": state["head.0.weight"], "fc.weight": torch.ones(3)}) is None
    assert Wrcan.options_of({key: value for key, value in state.items() if key != "head.0.weight"}) is None
    assert Wrcan.options_of(state | {"head.0.weight": torch.tensor(1.0)}) is None


@pytest.mark.parametrize("options", [{"n_feats": 3}, {"n_resgroups": 0}, {"n_resblocks": 0}])
def test_impossible_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected at least 4, 1 and 1"):
        Wrcan(**options)


def test_traced_network_takes_other_sizes() -> None:
    network = create_model("wrcan", n_feats=4, n_resgroups=1, n_resblocks=1)
    height, width = Dim("height", max=512), Dim("width", max=512)
    traced = export(network, (pictures(16, 24),), dynamic_shapes=({2: 4 * height, 3: 4 * width},)).module()
    frames = pictures(28, 12)
    with torch.no_grad():
        torch.testing.assert_close(traced(frames), network(frames), rtol=0, atol=ROUNDING)
