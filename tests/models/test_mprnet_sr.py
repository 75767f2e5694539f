"""MPRNet-SR against a literal recomputation, and the sizes and costs that are published."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import UsageError
from deblurrt.models.mprnet import MprNet
from deblurrt.models.mprnet_sr import MprNetSr
from deblurrt.models.reparameterise import mac_count, parameter_count
from deblurrt.models.seeding import seed_weights
from tests.models.mprnet_reference import Recomputation
from tests.models.official_layouts import LAYOUTS
from tests.models.small_zoo import MPRNET, SMALL

OPTIONS: dict[str, Any] = SMALL["mprnet_sr"]
#: part -> weights of the authors' code; two hold the shared slope
PARTS = {
    "SRNet_sr_cab": 303_104 + 1,
    "SRNet_before_rec": 73_728 + 1,
    "SRNet_reconstructor1": 794_624,
    "SRNet_reconstructor17.body.9": 75_776,
    "SRNet_reconstructor17.body.9.body.3": 2_048,
    "SRNet_HRconv": 36_864,
    "SRNet_upscale.0": 65_536,
    "SRNet_upscale.2": 1_728,
    "": 34_116_641,
}
#: known costs are rounded to whole thousand millions
GMAC_ROUNDING = 0.5
#: float64 sums in another order
FLOAT64_TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def full_size() -> MprNetSr:
    with torch.device("meta"):
        return MprNetSr()


@pytest.fixture(scope="module")
def small() -> MprNetSr:
    """A network in which every part is at work, in float64."""
    network = MprNetSr(**OPTIONS)
    seed_weights(network, 0)
    return network.double().eval()


def pictures(height: int, width: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("part", PARTS)
def test_part_has_the_authors_number_of_weights(full_size: MprNetSr, part: str) -> None:
    assert parameter_count(full_size.get_submodule(part)) == PARTS[part]


def test_weights_are_those_of_mprnet_and_the_enlargement(full_size: MprNetSr) -> None:
    enlargement = [value.numel() for key, value in full_size.named_parameters() if key.startswith("SRNet_")]
    assert sum(enlargement) == 13_989_568
    mprnet = {key: shape for key, shape in LAYOUTS["mprnet_sr"]().items() if not key.startswith("SRNet_")}
    assert mprnet == LAYOUTS["mprnet"]()
    assert parameter_count(full_size) - sum(enlargement) == 20_127_073


def test_checkpoint_holds_1363_tensors_of_which_57_are_one_slope(full_size: MprNetSr) -> None:
    state = full_size.state_dict(keep_vars=True)
    assert {key: tuple(tensor.shape) for key, tensor in state.items()} == LAYOUTS["mprnet_sr"]()
    slopes = [tensor for tensor in state.values() if tensor.shape == (1,)]
    assert (len(state), len(slopes), len({id(slope) for slope in slopes})) == (1363, 57, 1)


@pytest.mark.parametrize(("size", "gmac"), [((184, 320), 1_497), ((176, 320), 1_432)])
def test_cost_is_that_of_the_authors_code(full_size: MprNetSr, size: tuple[int, int], gmac: int) -> None:
    assert mac_count(full_size, size) / 1e9 == pytest.approx(gmac, abs=GMAC_ROUNDING)


def test_enlargement_costs_814_gmac(full_size: MprNetSr) -> None:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        full_size(torch.empty(1, 3, 184, 320, device="meta"))
    counted = {path: sum(ops.values()) / 2e9 for path, ops in counter.get_flop_counts().items()}
    parts = [gmac for path, gmac in counted.items() if path.startswith("MprNetSr.SRNet_") and path.count(".") == 1]
    assert sum(parts) == pytest.approx(814, abs=GMAC_ROUNDING)


def test_contract_is_of_fourfold_pictures_in_steps_of_8_that_see_everything(small: MprNetSr) -> None:
    expected = FrameContract(task="deblur_sr", scale=4, multiple=8, halo_px="global", io="float")
    assert small.contract == expected


@pytest.mark.parametrize("size", [(176, 320), (184, 320)])
def test_picture_is_four_times_as_high_and_wide(full_size: MprNetSr, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert full_size(torch.empty(1, 3, *size, device="meta")).shape == (1, 3, size[0] * 4, size[1] * 4)


@pytest.mark.parametrize("size", [(8, 8), (16, 40), (24, 16)])
def test_pictures_are_those_of_quarters_and_halves_one_after_the_other(small: MprNetSr, size: tuple[int, int]) -> None:
    frames, again = pictures(*size), Recomputation(small.state_dict(), num_cab=2)
    with torch.no_grad():
        found, expected = small.forward_all(frames), again.enlarged(frames, groups=2, blocks=2)
        torch.testing.assert_close(found, expected, rtol=0, atol=FLOAT64_TOLERANCE)
        assert torch.equal(small(frames), found[1])


def test_first_two_stages_are_mprnets(small: MprNetSr) -> None:
    mprnet, frames, state = MprNet(**MPRNET).double(), pictures(16, 8), small.state_dict()
    mprnet.load_state_dict({key: value for key, value in state.items() if not key.startswith("SRNet_")})
    with torch.no_grad():
        (third, *ours), theirs = small.forward_all(frames)[0], mprnet.forward_all(frames)
    assert all(map(torch.equal, ours, theirs[1:]))
    assert not torch.allclose(third, theirs[0])


def test_silent_last_layers_draw_black_without_any_skip_from_the_input() -> None:
    network, frames = MprNetSr(**OPTIONS).double(), pictures(8, 16)
    for path in (*MprNetSr.output_layers, "tail"):
        nn.init.zeros_(network.get_parameter(f"{path}.weight"))
    with torch.no_grad():
        (third, second, first), large = network.forward_all(frames)
    assert not third.any()
    assert not large.any()
    assert torch.equal(second, frames)
    assert torch.equal(first, frames)


@pytest.mark.parametrize("size", [(60, 64), (64, 62), (12, 16)])
def test_other_sizes_than_multiples_of_8_fail(small: MprNetSr, size: tuple[int, int]) -> None:
    with torch.no_grad(), pytest.raises(RuntimeError, match="size"):
        small(pictures(*size))


def test_all_but_the_tail_is_trained_by_the_large_picture() -> None:
    network = MprNetSr(**OPTIONS)
    seed_weights(network, 0)
    torch.autograd.backward(network(pictures(16, 16).float()).square().mean())
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == ["tail.weight"]


@pytest.mark.parametrize(
    "options", [{}, {"groups": 12}, {"blocks": 2, "num_cab": 3}, {"n_feat": 40, "scale_unetfeats": 20}]
)
def test_options_are_read_off_the_weights(options: dict[str, int]) -> None:
    with torch.device("meta"):
        assert MprNetSr.options_of(MprNetSr(**options).state_dict()) == options


@pytest.mark.parametrize("missing", ["SRNet_upscale", "SRNet_reconstructor", "concat23", ""])
def test_foreign_weights_are_not_recognised(small: MprNetSr, missing: str) -> None:
    kept = {key: value for key, value in small.state_dict().items() if not key.startswith(missing)}
    assert MprNetSr.options_of(kept | {"fc.weight": torch.ones(3)}) is None


def test_weights_of_mprnet_are_not_mprnet_srs() -> None:
    with torch.device("meta"):
        assert MprNetSr.options_of(MprNet(**MPRNET).state_dict()) is None


@pytest.mark.parametrize("options", [{"groups": 0}, {"blocks": 0}])
def test_impossible_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected at least 1 each"):
        MprNetSr(**MPRNET, **options)
