"""MPRNet against a literal recomputation, and the sizes and costs that are published."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import UsageError
from deblurrt.models.mprnet import MprNet
from deblurrt.models.mprnet_sr import MprNetSr
from deblurrt.models.mprnet_stages import Down
from deblurrt.models.reparameterise import mac_count, parameter_count
from deblurrt.models.seeding import seed_weights
from tests.models.mprnet_reference import Recomputation
from tests.models.official_layouts import LAYOUTS
from tests.models.small_zoo import MPRNET

#: options of each published use of the class -> weights
CONFIGURATIONS = {
    "deblurring": ({}, 20_127_073),
    "denoising": ({"n_feat": 80}, 15_741_025),
    "deraining": ({"n_feat": 40, "scale_unetfeats": 20, "scale_orsnetfeats": 16}, 3_637_249),
}
#: parts that hold the shared slope count it once more
SLOPE = 1
#: part -> weights of the authors' code
PARTS = {
    "shallow_feat1": 173_088 + SLOPE,
    "shallow_feat2": 173_088 + SLOPE,
    "shallow_feat3": 173_088 + SLOPE,
    "stage1_encoder": 2_513_664 + SLOPE,
    "stage1_decoder": 3_067_776 + SLOPE,
    "stage2_encoder": 2_647_296 + SLOPE,
    "stage2_decoder": 3_067_776 + SLOPE,
    "stage3_orsnet": 7_901_184 + SLOPE,
    "stage3_orsnet.orb1": 2_572_288 + SLOPE,
    "stage1_encoder.encoder_level2.0": 383_616 + SLOPE,
    "sam12": 9_792,
    "sam23": 9_792,
    "concat12": 165_888,
    "concat23": 221_184,
    "tail": 3_456,
}
#: part -> thousand million multiply-accumulates of the authors' code for 720x1280
COSTS = {
    "stage1_encoder": 559,
    "stage1_decoder": 812,
    "stage2_encoder": 590,
    "stage2_decoder": 812,
    "stage3_orsnet": 7_062,
    "shallow_feat1": 155,
    "shallow_feat2": 155,
    "shallow_feat3": 155,
    "concat12": 153,
    "concat23": 204,
}
#: known costs are rounded to whole thousand millions
GMAC_ROUNDING = 0.5
#: float64 sums in another order
FLOAT64_TOLERANCE = 1e-12
#: float32 sums in another order; pixels are of the order of 1
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def full_size() -> MprNet:
    with torch.device("meta"):
        return MprNet()


@pytest.fixture(scope="module")
def small() -> MprNet:
    """A network in which every part is at work, in float64."""
    network = MprNet(**MPRNET)
    seed_weights(network, 0)
    return network.double().eval()


def pictures(height: int, width: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("options", "parameters"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_published_configurations_have_the_authors_weights(options: dict[str, int], parameters: int) -> None:
    with torch.device("meta"):
        network = MprNet(**options)
    assert parameter_count(network) == parameters
    assert {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()} == LAYOUTS["mprnet"](**options)


@pytest.mark.parametrize("part", PARTS)
def test_part_has_the_authors_number_of_weights(full_size: MprNet, part: str) -> None:
    assert parameter_count(full_size.get_submodule(part)) == PARTS[part]


def test_checkpoint_holds_316_tensors_of_which_55_are_one_slope(full_size: MprNet) -> None:
    state = full_size.state_dict(keep_vars=True)
    slopes = [tensor for key, tensor in state.items() if key.endswith("body.1.weight") and tensor.shape == (1,)]
    assert (len(state), len(slopes), len({id(slope) for slope in slopes})) == (316, 55, 1)
    assert list(full_size.buffers()) == []


def test_slope_starts_at_a_quarter() -> None:
    assert MprNet(**MPRNET).get_parameter("shallow_feat1.1.body.1.weight").tolist() == [0.25]


def test_cost_is_that_of_the_authors_code(full_size: MprNet) -> None:
    assert mac_count(full_size, (256, 256)) / 1e9 == pytest.approx(759.4, abs=0.05)
    assert mac_count(full_size, (720, 1280)) / 1e9 == pytest.approx(10_679, abs=GMAC_ROUNDING)


def test_parts_cost_what_they_do_in_the_authors_code(full_size: MprNet) -> None:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        full_size(torch.empty(1, 3, 720, 1280, device="meta"))
    counted = {path: sum(ops.values()) / 2e9 for path, ops in counter.get_flop_counts().items()}
    assert {part: counted[f"MprNet.{part}"] for part in COSTS} == pytest.approx(COSTS, abs=GMAC_ROUNDING)


def test_contract_is_of_one_frame_in_steps_of_8_that_sees_everything(small: MprNet) -> None:
    assert small.contract == FrameContract(task="deblur", multiple=8, halo_px="global", io="float")


@pytest.mark.parametrize("size", [(8, 8), (16, 40), (24, 16)])
def test_stages_are_those_of_quarters_and_halves_one_after_the_other(small: MprNet, size: tuple[int, int]) -> None:
    frames = pictures(*size)
    with torch.no_grad():
        stages, expected = small.forward_all(frames), Recomputation(small.state_dict(), num_cab=2).deblurred(frames)
    torch.testing.assert_close(stages, expected, rtol=0, atol=FLOAT64_TOLERANCE)


def test_restored_picture_is_the_third_stage(small: MprNet) -> None:
    frames = pictures(16, 8)
    with torch.no_grad():
        assert torch.equal(small(frames), small.forward_all(frames)[0])


def test_mean_of_2x2_is_bilinear_halving() -> None:
    frames, halved = pictures(6, 10), Down(3, 4).double()
    with torch.no_grad():
        half = functional.interpolate(frames, scale_factor=0.5, mode="bilinear", align_corners=False)
        expected = functional.conv2d(half, halved.get_parameter("down.1.weight"))
        torch.testing.assert_close(halved(frames), expected, rtol=0, atol=FLOAT64_TOLERANCE)


def test_silent_last_layers_return_the_blurred_picture_in_every_stage() -> None:
    network, frames = MprNet(**MPRNET).double(), pictures(8, 16)
    for path in MprNet.output_layers:
        nn.init.zeros_(network.get_parameter(f"{path}.weight"))
    with torch.no_grad():
        assert all(torch.equal(stage, frames) for stage in network.forward_all(frames))


def test_result_is_not_clamped(small: MprNet) -> None:
    with torch.no_grad():
        assert small(pictures(8, 8) * 4).max() > 1


@pytest.mark.parametrize("size", [(60, 64), (64, 62), (63, 64), (64, 65), (4, 8)])
def test_other_sizes_than_multiples_of_8_fail(small: MprNet, size: tuple[int, int]) -> None:
    with torch.no_grad(), pytest.raises(RuntimeError, match="size"):
        small(pictures(*size))


def test_one_pixel_changes_the_farthest_one(small: MprNet) -> None:
    frames = pictures(8, 256, count=1)
    dotted = frames.clone()
    dotted[..., 0] = 1 - dotted[..., 0]
    with torch.no_grad():
        changed = (small(frames) - small(dotted)).abs().amax(dim=(0, 1, 2))
    assert float(changed[-1]) > 0


def test_every_weight_is_trained() -> None:
    network = MprNet(**MPRNET)
    seed_weights(network, 0)
    torch.autograd.backward(network(pictures(16, 16).float()).square().mean())
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("options", [{}, {"n_feat": 80}, {"n_feat": 40, "scale_orsnetfeats": 16}, {"num_cab": 11}])
def test_options_are_read_off_the_weights(options: dict[str, int]) -> None:
    with torch.device("meta"):
        assert MprNet.options_of(MprNet(**options).state_dict()) == options


def test_foreign_weights_are_not_recognised(small: MprNet) -> None:
    state, key = small.state_dict(), "concat23.weight"
    assert MprNet.options_of({}) is None
    assert MprNet.options_of({key: state[key], "fc.weight": torch.ones(3)}) is None
    assert MprNet.options_of({name: value for name, value in state.items() if name != key}) is None
    assert MprNet.options_of(state | {key: torch.tensor(1.0)}) is None


def test_weights_of_mprnet_sr_are_not_mprnets() -> None:
    with torch.device("meta"):
        assert MprNet.options_of(MprNetSr(**MPRNET, groups=1, blocks=1).state_dict()) is None


@pytest.mark.parametrize(
    "options", [{"n_feat": 3}, {"scale_unetfeats": -47}, {"scale_orsnetfeats": -93}, {"num_cab": 0}]
)
def test_impossible_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected at least 4 and 1"):
        MprNet(**options)


def test_traced_network_takes_other_sizes() -> None:
    network = MprNet(**{**MPRNET, "num_cab": 1}).eval()
    seed_weights(network, 0)
    # a trace tells sides of one pixel from longer ones, and level 3 of a quarter is an eighth of the picture
    height, width = Dim("height", min=2, max=256), Dim("width", min=2, max=256)
    sides = {2: 8 * height, 3: 8 * width}
    traced = export(network, (pictures(16, 24).float(),), dynamic_shapes=(sides,)).module()
    frames = pictures(40, 16).float()
    with torch.no_grad():
        torch.testing.assert_close(traced(frames), network(frames), rtol=0, atol=ROUNDING)
