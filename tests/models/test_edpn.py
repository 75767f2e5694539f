"""EDPN against the counts of the authors' code and against its graph written down once more."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import UsageError
from deblurrt.models.deform_conv import modulated_deform_conv2d
from deblurrt.models.edpn import Edpn, EdpnDeblock, EdpnSr, EdpnSr13m
from deblurrt.models.reparameterise import parameter_count
from deblurrt.models.seeding import seed_weights
from tests.models.official_layouts import edpn as layout_of

HEADS: list[type[Edpn]] = [EdpnSr, EdpnDeblock]
SMALL: dict[str, Any] = {"n_blocks": 2, "channels": 16, "groups": 2}

#: transfer blocks per level -> weights of the authors' code, super-resolution and deblocking
BLOCKS = {
    1: (13_311_337, 13_244_777),
    2: (14_792_689, 14_726_129),
    3: (16_274_041, 16_207_481),
    4: (17_755_393, 17_688_833),
    5: (19_236_745, 19_170_185),
}
#: copies -> weights of the authors' code for super-resolution
COPIES = {1: 16_224_861, 3: 16_249_447, 7: 16_298_643}
#: first part of a key -> weights of the authors' code
PARTS = {
    "conv_first": 1_792,
    "feature_extractor": 1_329_408,
    "fea_L": 147_712,
    "pspa": 5_219_160,
    "tsa_fusion": 344_990,
    "reconstructor": 9_125_760,
    "HRconv": 36_928,
}
GMAC = 1e9
#: the known cost of the deformable convolutions is rounded to 0.1 thousand million
DEFORMABLE_ROUNDING = 0.05
#: two grey levels, below what one sees
FLOAT16_TOLERANCE = 2 / 255
#: float64 sums in another order
FLOAT64_TOLERANCE = 1e-12


def made(network: type[Edpn], **options: Any) -> Edpn:
    """A network in which every part is at work, in float64."""
    small = network(**{**SMALL, **options})
    seed_weights(small, 0)
    return small.double().eval()


def pictures(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


@pytest.mark.parametrize("n_blocks", BLOCKS)
def test_weights_are_as_many_as_in_the_authors_code(n_blocks: int) -> None:
    with torch.device("meta"):
        counts = tuple(parameter_count(head(n_blocks=n_blocks)) for head in HEADS)
    assert counts == BLOCKS[n_blocks]


@pytest.mark.parametrize("n_frames", COPIES)
def test_copies_change_the_weights_as_in_the_authors_code(n_frames: int) -> None:
    with torch.device("meta"):
        assert parameter_count(EdpnSr(n_frames=n_frames)) == COPIES[n_frames]


def test_parts_have_the_weights_of_the_authors_code() -> None:
    with torch.device("meta"):
        counted = {head: dict(head().named_parameters()) for head in HEADS}
    for part, count in {**PARTS, "upscale": 68_291}.items():
        assert sum(tensor.numel() for key, tensor in counted[EdpnSr].items() if key.startswith(part)) == count, part
    head = [tensor.numel() for key, tensor in counted[EdpnDeblock].items() if key.startswith("upscale")]
    assert sum(head) == 1_731


def test_paper_prints_the_size_of_two_settings() -> None:
    with torch.device("meta"):
        assert parameter_count(EdpnSr13m()) == 13_335_939
        assert parameter_count(EdpnSr(n_frames=7, share_levels=True)) == 13_335_939


@pytest.mark.parametrize("options", [{}, {"n_blocks": 1, "n_frames": 7}, {"reduction": 4}, {"share_levels": True}])
@pytest.mark.parametrize("head", HEADS)
def test_keys_and_shapes_are_the_authors(head: type[Edpn], options: dict[str, Any]) -> None:
    with torch.device("meta"):
        network = head(groups=3, **options)
    visible = {key: value for key, value in options.items() if key != "share_levels"}
    assert shapes_of(network) == layout_of(is_sr=head is EdpnSr, groups=3, **visible)


def test_shared_levels_keep_every_key_and_one_set_of_blocks() -> None:
    network = EdpnDeblock(**SMALL, share_levels=True)
    stacks = [network.pspa.get_submodule(f"L{level}_spa.SPA_blocks") for level in (1, 2, 3)]
    first, second, third = ([*stack.children()] for stack in stacks)
    assert first == second == third
    assert first[0] is not first[1]
    assert network.pspa.get_submodule("L1_spa.out_conv1") is not network.pspa.get_submodule("L2_spa.out_conv1")


@pytest.mark.parametrize(("size", "deformable"), [((180, 320), 41.8), ((720, 1280), 668.9)])
def test_deformable_products_and_extractor_cost_what_is_known(size: tuple[int, int], deformable: float) -> None:
    with torch.device("meta"):
        network = EdpnDeblock(n_frames=1, groups=1, use_extractor=True)
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, *size))
    by_module: dict[str, float] = {
        path: sum(ops.values()) / 2 / GMAC for path, ops in counter.get_flop_counts().items()
    }

    def cost(pattern: str) -> float:
        """Of the five copies of the usual network."""
        return 5.0 * sum(gmac for path, gmac in by_module.items() if re.fullmatch(f"EdpnDeblock.{pattern}", path))

    products = cost("pspa.*dcnpack") - cost("pspa.*dcnpack.conv_offset_mask")
    assert products == pytest.approx(deformable, abs=DEFORMABLE_ROUNDING)
    blocks = 18 * 2 * 64 * 64 * 9 * size[0] * size[1] * 5 / GMAC
    assert cost("feature_extractor[123]") == pytest.approx(blocks)


@pytest.mark.parametrize("head", HEADS)
def test_contract_says_what_is_undone(head: type[Edpn]) -> None:
    expected = {
        EdpnSr: FrameContract(task="deblur_sr", scale=4, multiple=4, halo_px="global", io="float"),
        EdpnDeblock: FrameContract(task="deblur_jpeg", scale=1, multiple=4, halo_px="global", io="float"),
    }
    assert head(**SMALL).contract == expected[head]


@pytest.mark.parametrize(("n_frames", "reference"), [(1, 0), (3, 0), (5, 1), (7, 1)])
def test_correction_is_added_to_the_reference_copy(n_frames: int, reference: int) -> None:
    network = EdpnDeblock(**SMALL, n_frames=n_frames).double()
    nn.init.zeros_(network.get_parameter("upscale.0.weight"))
    nn.init.zeros_(network.get_parameter("upscale.0.bias"))
    copies = pictures(1, n_frames, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(network.forward_all(copies), copies[:, reference])


def cubic(distance: float) -> float:
    """Keys' kernel with the coefficient -0.75."""
    a, x = -0.75, abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def enlarging(length: int) -> Tensor:
    """Matrix of the fourfold cubic enlargement along one axis: half-pixel centres, border repeated."""
    matrix = torch.zeros(length * 4, length, dtype=torch.float64)
    for place in range(length * 4):
        centre = (place + 0.5) / 4 - 0.5
        for source in range(int(centre // 1) - 1, int(centre // 1) + 3):
            matrix[place, min(max(source, 0), length - 1)] += cubic(centre - source)
    return matrix


def test_silent_head_returns_the_bicubic_enlargement() -> None:
    network = EdpnSr(**SMALL).double()
    nn.init.zeros_(network.get_parameter("upscale.2.weight"))
    nn.init.zeros_(network.get_parameter("upscale.2.bias"))
    frames = pictures(1, 3, 8, 12)
    with torch.no_grad():
        expected = enlarging(8) @ frames @ enlarging(12).T
        torch.testing.assert_close(network(frames), expected, rtol=0, atol=FLOAT64_TOLERANCE)


class Recomputed:
    """The graph of the paper's code on a state dict, one line per operation."""

    def __init__(self, state: dict[str, Tensor], *, use_extractor: bool) -> None:
        self.state, self.use_extractor = state, use_extractor

    def conv(self, key: str, *inputs: Tensor, stride: int = 1) -> Tensor:
        weight = self.state[f"{key}.weight"]
        x = torch.cat(inputs, dim=1)
        return functional.conv2d(x, weight, self.state[f"{key}.bias"], stride, padding=weight.shape[-1] // 2)

    def leaky(self, key: str, *inputs: Tensor, stride: int = 1) -> Tensor:
        x = self.conv(key, *inputs, stride=stride)
        return torch.maximum(x, 0.1 * x)

    def pair(self, key: str, *inputs: Tensor) -> Tensor:
        return self.leaky(f"{key}2", self.leaky(f"{key}1", *inputs))

    def pyramid(self, frame: Tensor) -> list[Tensor]:
        x = self.leaky("conv_first", frame)
        for part in range(1, 4) if self.use_extractor else ():
            for block in range(6):
                key = f"feature_extractor{part}.{block}"
                x = x + self.conv(f"{key}.conv2", torch.relu(self.conv(f"{key}.conv1", x)))
        half = self.leaky("fea_L2_conv2", self.leaky("fea_L2_conv1", x, stride=2))
        return [x, half, self.leaky("fea_L3_conv2", self.leaky("fea_L3_conv1", half, stride=2))]

    def block(self, key: str, base: Tensor, other: Tensor) -> Tensor:
        own, foreign = self.conv(f"{key}.conv_base", base), self.conv(f"{key}.conv_ref", other)
        numbers = self.conv(f"{key}.dcnpack.conv_offset_mask", self.pair(f"{key}.offset_conv", own, foreign))
        weight, bias = self.state[f"{key}.dcnpack.weight"], self.state[f"{key}.dcnpack.bias"]
        mask = torch.sigmoid(numbers[:, 144:])
        moved = modulated_deform_conv2d(foreign, numbers[:, :144], mask, weight, bias, padding=1)
        moved = self.leaky(f"{key}.dcn_conv", torch.maximum(moved, 0.1 * moved))
        powers = torch.exp(foreign - own)
        shares = powers / powers.sum(dim=3, keepdim=True)
        return base + self.pair(f"{key}.out_conv", own, shares * moved)

    def stack(self, level: int, base: Tensor, other: Tensor) -> Tensor:
        key = f"pspa.L{level}"
        for place in range(SMALL["n_blocks"]):
            other = self.block(f"{key}_spa.SPA_blocks.{place}", base, other)
        return self.leaky(f"{key}_conv", base + self.pair(f"{key}_spa.out_conv", base, other))

    def align(self, base: list[Tensor], other: list[Tensor]) -> Tensor:
        fine, half, quarter = (self.stack(level, base[level - 1], other[level - 1]) for level in (1, 2, 3))
        half = self.pair("pspa.L2_conv_up", half, doubled(quarter))
        return self.pair("pspa.out_conv", base[0], self.pair("pspa.L1_conv_up", fine, doubled(half)))

    def fuse(self, maps: list[Tensor], reference: int) -> Tensor:
        key = "tsa_fusion"
        wanted = self.conv(f"{key}.temporal_attn1", maps[reference])
        alike = [(self.conv(f"{key}.temporal_attn2", x) * wanted).sum(1, keepdim=True) for x in maps]
        maps = [x * torch.sigmoid(likeness) for x, likeness in zip(maps, alike, strict=True)]
        mixing, constants = self.state[f"{key}.conv3D.weight"], self.state[f"{key}.conv3D.bias"]
        mixed = []
        for shares, constant in zip(mixing.flatten(1), constants, strict=True):
            x = sum((share * one for share, one in zip(shares, maps, strict=True)), constant)
            mixed.append(torch.maximum(x, 0.1 * x))
        fused = self.leaky(f"{key}.feat_fusion", *maps) + self.leaky(f"{key}.conv3D_fusion", *mixed)
        half = self.leaky(f"{key}.spatial_attn2", *pooled(self.leaky(f"{key}.spatial_attn1", *maps)))
        quarter = self.leaky(f"{key}.spatial_attn_l2", *pooled(self.leaky(f"{key}.spatial_attn_l1", half)))
        half = self.leaky(f"{key}.spatial_attn3", half) + doubled(self.leaky(f"{key}.spatial_attn_l3", quarter))
        gate = self.conv(f"{key}.spatial_attn5", doubled(self.leaky(f"{key}.spatial_attn4", half)))
        shift = self.conv(f"{key}.spatial_attn_add2", self.leaky(f"{key}.spatial_attn_add1", gate))
        return fused * torch.sigmoid(gate) * 2 + shift

    def attended(self, key: str, x: Tensor) -> Tensor:
        features = self.conv(f"{key}.2", torch.relu(self.conv(f"{key}.0", x)))
        near = self.conv(f"{key}.3.local_att.2", torch.relu(self.conv(f"{key}.3.local_att.0", features)))
        mean = features.mean(dim=(2, 3), keepdim=True)
        far = self.conv(f"{key}.3.global_att.3", torch.relu(self.conv(f"{key}.3.global_att.1", mean)))
        return x + features * torch.sigmoid(near + far)

    def __call__(self, copies: Tensor, *, is_sr: bool) -> Tensor:
        reference = int((copies.shape[1] / 2) // 2)
        pyramids = [self.pyramid(frame) for frame in copies.unbind(1)]
        x = self.fuse([self.align(base, pyramids[reference]) for base in pyramids], reference)
        for group in range(SMALL["groups"]):
            for block in range(10):
                x = self.attended(f"reconstructor{group + 1}.body.{block}.body", x)
        x, frame = self.leaky("HRconv", x), copies[:, reference]
        if not is_sr:
            return self.conv("upscale.0", x) + frame
        enlarged = enlarging(frame.shape[2]) @ frame @ enlarging(frame.shape[3]).T
        return self.conv("upscale.2", functional.pixel_shuffle(self.conv("upscale.0", x), 4)) + enlarged


def doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear")


def pooled(x: Tensor) -> tuple[Tensor, Tensor]:
    """Largest and mean of 3x3 at every second place; the mean of nine counts zeros beyond the border."""
    filled = functional.pad(x, (1, 1, 1, 1)).unfold(2, 3, 2).unfold(3, 3, 2)
    low = functional.pad(x, (1, 1, 1, 1), value=float("-inf")).unfold(2, 3, 2).unfold(3, 3, 2)
    return low.amax(dim=(4, 5)), filled.sum(dim=(4, 5)) / 9


@pytest.mark.parametrize(
    ("head", "options"),
    [
        (EdpnSr, {}),
        (EdpnDeblock, {}),
        (EdpnDeblock, {"n_frames": 3, "use_extractor": True, "reduction": 4}),
        (EdpnDeblock, {"n_frames": 2, "share_levels": True}),
    ],
)
def test_network_computes_the_graph_of_the_authors(head: type[Edpn], options: dict[str, Any]) -> None:
    network = made(head, **options)
    copies = pictures(2, network.n_frames, 3, 8, 12)
    again = Recomputed(network.state_dict(), use_extractor=network.use_extractor)
    with torch.no_grad():
        expected = again(copies, is_sr=head is EdpnSr)
        torch.testing.assert_close(network.forward_all(copies), expected, rtol=0, atol=FLOAT64_TOLERANCE)


@pytest.mark.parametrize("head", HEADS)
def test_frame_is_copied_inside(head: type[Edpn]) -> None:
    network, frames = made(head, n_frames=3), pictures(2, 3, 8, 12)
    with torch.no_grad():
        restored = network(frames)
        assert restored.shape == (2, 3, 8 * head.scale, 12 * head.scale)
        assert torch.equal(network.forward_all(frames[:, None].expand(-1, 3, -1, -1, -1)), restored)
        assert torch.equal(network.forward_all(frames), restored)


@pytest.mark.parametrize("size", [(4, 4), (4, 16), (20, 8)])
def test_multiples_of_four_are_restored(size: tuple[int, int]) -> None:
    network = EdpnDeblock(**SMALL, n_frames=1)
    with torch.no_grad():
        assert network(torch.rand(1, 3, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("size", [(6, 8), (8, 10), (7, 8)])
def test_other_sizes_fail(size: tuple[int, int]) -> None:
    with pytest.raises(RuntimeError, match="size"):
        EdpnDeblock(**SMALL, n_frames=1)(torch.rand(1, 3, *size))


def test_extractor_is_dead_unless_asked_for() -> None:
    frames, restored = pictures(1, 3, 8, 8), {}
    for use_extractor in (False, True):
        network = made(EdpnDeblock, n_frames=1, use_extractor=use_extractor)
        assert network.unused == (() if use_extractor else tuple(f"feature_extractor{part}" for part in (1, 2, 3)))
        nn.init.constant_(network.get_parameter("feature_extractor2.3.conv1.weight"), float("nan"))
        with torch.no_grad():
            restored[use_extractor] = network(frames)
    assert bool(restored[False].isfinite().all())
    assert bool(restored[True].isnan().all())


def test_half_precision_restores_the_same_picture() -> None:
    network, frames = made(EdpnDeblock, n_frames=1).half(), pictures(1, 3, 8, 64).half()
    with torch.no_grad():
        restored, exact = network(frames), network.float()(frames.float())
    assert restored.dtype == torch.float16
    torch.testing.assert_close(restored.float(), exact, rtol=0, atol=FLOAT16_TOLERANCE)


def test_initial_weights_are_the_authors() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = EdpnDeblock(n_blocks=1, groups=1)
    zero = r".*conv_offset_mask.*|.*dcnpack\.bias|feature_extractor.*\.bias"
    for key, tensor in network.state_dict().items():
        assert bool(tensor.any()) != bool(re.fullmatch(zero, key)), key
        if re.fullmatch(r"feature_extractor.*\.weight", key):
            # He's normal initialisation for 64 * 9 inputs, times 0.1
            assert float(tensor.std()) == pytest.approx(0.1 * (2 / 576) ** 0.5, rel=0.03)


@pytest.mark.parametrize("head", [EdpnSr, EdpnDeblock, EdpnSr13m])
@pytest.mark.parametrize(
    "options",
    [
        {"groups": 1},
        {"n_blocks": 2, "n_frames": 3, "groups": 2},
        {"reduction": 4, "channels": 16, "groups": 2},
        {"n_blocks": 3, "n_frames": 5, "groups": 1},
    ],
)
def test_options_are_read_off_a_state_dict(head: type[Edpn], options: dict[str, Any]) -> None:
    with torch.device("meta"):
        network = head(**options)
        found = head.options_of(network.state_dict())
        assert found is not None
        assert shapes_of(head(**found)) == shapes_of(network)
    usual = {"n_blocks": 1, "n_frames": 7} if head is EdpnSr13m else {"n_blocks": 3, "n_frames": 5}
    assert found == {name: value for name, value in options.items() if usual.get(name) != value}


def test_shared_levels_are_read_off_equal_values() -> None:
    shared, own = EdpnSr(**SMALL, share_levels=True), EdpnSr(**SMALL)
    assert EdpnSr.options_of(shared.state_dict()) == {**SMALL, "share_levels": True}
    assert EdpnSr.options_of(own.state_dict()) == SMALL


def test_state_dicts_of_other_networks_are_told_apart() -> None:
    with torch.device("meta"):
        enlarging_state, same_size = EdpnSr(**SMALL).state_dict(), EdpnDeblock(**SMALL).state_dict()
    assert EdpnDeblock.options_of(enlarging_state) is None
    assert EdpnSr.options_of(same_size) is None
    assert EdpnSr.options_of({}) is None
    assert EdpnSr.options_of({"conv_first.weight": torch.zeros(3)}) is None
    assert EdpnSr.options_of(dict.fromkeys(enlarging_state, torch.zeros(()))) is None
    missing = {key: tensor for key, tensor in same_size.items() if "extractor" not in key}
    assert EdpnDeblock.options_of(missing) is None


@pytest.mark.parametrize("options", [{"n_blocks": 0}, {"n_frames": 0}, {"groups": 0}, {"reduction": 0}])
def test_impossible_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected at least 1 of each"):
        EdpnSr(**{**SMALL, **options})


def test_width_must_fall_into_the_deformable_groups() -> None:
    with pytest.raises(UsageError, match="12 channels do not fall into 8 deformable groups"):
        EdpnSr(channels=12)
