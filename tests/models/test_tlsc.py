"""Local pools: the window of every pool as published, and networks that have them."""

from __future__ import annotations

import logging
import math
import re
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import UsageError
from deblurrt.models import create_model
from deblurrt.models.local_pool import FastLocalAvgPool2d, LocalAvgPool2d, global_pools
from deblurrt.models.network import DeblurNetwork
from deblurrt.models.reparameterise import mac_count
from deblurrt.models.tlsc import Size, apply_tlsc, window_of
from deblurrt.models.tlsc_config import TlscConfig, parse_tlsc
from tests.models.mprnet_reference import Recomputation
from tests.models.official_layouts import LAYOUTS
from tests.models.small_zoo import SMALL

Window = tuple[int, int]
Windows = dict[str, Window]

#: pools -> window of MPRNet-SR trained on 64 with 96, of MPRNet trained on 256 with 384, and how many MPRNet has
TABLE: dict[str, tuple[Window, Window, int]] = {
    r"shallow_feat1|stage1_encoder\.encoder_level1": ((48, 48), (192, 192), 1 + 2),
    r"stage1_encoder\.encoder_level2": ((24, 24), (96, 96), 2),
    r"stage1_encoder\.encoder_level3": ((12, 12), (48, 48), 2),
    r"stage1_decoder\.(decoder_level1|skip_attn1)": ((48, 96), (192, 384), 2 + 1),
    r"stage1_decoder\.(decoder_level2|skip_attn2)": ((24, 48), (96, 192), 2 + 1),
    r"stage1_decoder\.decoder_level3": ((12, 24), (48, 96), 2),
    r"shallow_feat2|stage2_encoder\.encoder_level1": ((48, 96), (192, 384), 1 + 2),
    r"stage2_encoder\.encoder_level2": ((24, 48), (96, 192), 2),
    r"stage2_encoder\.encoder_level3": ((12, 24), (48, 96), 2),
    r"stage2_decoder\.(decoder_level1|skip_attn1)": ((96, 96), (384, 384), 2 + 1),
    r"stage2_decoder\.(decoder_level2|skip_attn2)": ((48, 48), (192, 192), 2 + 1),
    r"stage2_decoder\.decoder_level3": ((24, 24), (96, 96), 2),
    r"shallow_feat3|stage3_orsnet\.orb": ((96, 96), (384, 384), 1 + 24),
    r"SRNet_": ((96, 96), (384, 384), 0),
}
PUBLISHED = ["mprnet", "mprnet_sr"]
#: parts of MPRNet that see quarters or halves, one after the other in the batch -> how many
PARTS = {"shallow_feat1": 4, "stage1_encoder": 4, "stage1_decoder": 2, "shallow_feat2": 2, "stage2_encoder": 2}
#: float64 sums in another order
FLOAT64_TOLERANCE = 1e-12
#: known costs are rounded to whole thousand millions
GMAC_ROUNDING = 0.5
#: float32 sums in another order; pixels are of the order of 1
ROUNDING = 1e-5


def pools_of_layout(name: str, **options: int) -> list[str]:
    """Paths of the global pools, beside the first convolution of each gate in the authors' checkpoint."""
    keys = LAYOUTS[name](**options)
    gates = [key.removesuffix("conv_du.0.weight") + "avg_pool" for key in keys if key.endswith("CA.conv_du.0.weight")]
    return gates + [key.removesuffix("1.weight") + "0" for key in keys if key.endswith("global_att.1.weight")]


def windows_of_table(paths: list[str], column: int) -> Windows:
    rows = {path: [row[:2] for pattern, row in TABLE.items() if re.match(pattern, path)] for path in paths}
    assert all(len(found) == 1 for found in rows.values())
    return {path: found[0][column] for path, found in rows.items()}


def windows_of(network: DeblurNetwork) -> Windows:
    return {path: pool.window for path, pool in network.named_modules() if isinstance(pool, LocalAvgPool2d)}


def small(name: str) -> DeblurNetwork:
    """A network in which every part is at work, in float64."""
    return create_model(name, **SMALL[name]).double()


def pictures(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("name", "count"), [("mprnet", 55), ("mprnet_sr", 226)])
def test_every_window_is_the_published_one(name: str, count: int) -> None:
    with torch.device("meta"):
        network = create_model(name)
    paths = pools_of_layout(name)
    assert len(paths) == count
    for column, sizes in enumerate([(64, 96), (256, 384)]):
        converted = apply_tlsc(network, *sizes)
        assert windows_of(converted) == windows_of_table(paths, column)
        assert global_pools(converted) == {}


def test_rows_of_the_table_hold_the_published_number_of_pools() -> None:
    paths = pools_of_layout("mprnet")
    counts = {pattern: sum(bool(re.match(pattern, path)) for path in paths) for pattern in TABLE}
    assert counts == {pattern: count for pattern, (_, _, count) in TABLE.items()}


class Unpublished(DeblurNetwork):
    """A network around another, of whose pools nothing is known."""

    def __init__(self, network: DeblurNetwork) -> None:
        super().__init__()
        self.network, self.contract = network, network.contract

    def forward(self, frames: Tensor) -> Tensor:
        restored: Tensor = self.network(frames)
        return restored


@pytest.mark.parametrize(("train", "base"), [(64, 96), ((64, 128), (96, 100)), ((24, 16), (37, 9))])
@pytest.mark.parametrize("name", PUBLISHED)
def test_running_once_gives_the_windows_of_the_table(name: str, train: Size, base: Size) -> None:
    with torch.device("meta"):
        network = create_model(name, **SMALL[name])
    measured = windows_of(apply_tlsc(Unpublished(network), train, base))
    published = windows_of(apply_tlsc(network, train, base))
    assert {path.removeprefix("network."): window for path, window in measured.items()} == published
    assert sorted(published) == sorted(pools_of_layout(name, **SMALL[name]))


@pytest.mark.parametrize("train", [8, 16, 256])
def test_windows_do_not_depend_on_the_size_the_network_was_trained_on(train: int) -> None:
    network = create_model("mprnet", seed=None, **SMALL["mprnet"])
    expected = windows_of_table(pools_of_layout("mprnet", **SMALL["mprnet"]), 0)
    assert windows_of(apply_tlsc(network, train, 96)) == expected


@pytest.mark.parametrize(
    ("scale", "base", "window"),
    [("1", 97, 97), ("1/2", 97, 48), ("1/8", 100, 12), ("1/3", 96, 32), ("1/8", 7, 1), ("2", 5, 10)],
)
def test_window_is_the_base_size_at_the_scale_of_the_map_rounded_down(scale: str, base: int, window: int) -> None:
    ratio = Fraction(scale)
    assert window_of((ratio, Fraction(1)), TlscConfig((64, 64), (base, 40))) == (window, 40)
    assert window_of((Fraction(1), ratio), TlscConfig((64, 64), (40, base))) == (40, window)


def banded(length: int, window: int) -> Tensor:
    """Matrix of the running mean: in each row the window around one place, moved into the map."""
    reach = min(length, window)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    for place in range(length):
        start = min(max(place - (reach - 1) // 2, 0), length - reach)
        matrix[place, start : start + reach] = 1 / reach
    return matrix


@pytest.mark.parametrize("sizes", [(64, 24), ((8, 8), (13, 32)), (64, 2)])
@pytest.mark.parametrize("name", PUBLISHED)
def test_converted_network_is_the_recomputed_one_with_local_means(name: str, sizes: tuple[Size, Size]) -> None:
    network, frames = small(name), pictures(24, 40)
    converted = apply_tlsc(network, *sizes)
    windows = windows_of(converted)

    def local(path: str, x: Tensor) -> Tensor:
        tall, wide = windows[path]
        return banded(x.shape[2], tall) @ x @ banded(x.shape[3], wide).T

    again = Recomputation(network.state_dict(), num_cab=2, pool=local)
    with torch.no_grad():
        expected = again.deblurred(frames)[0] if name == "mprnet" else again.enlarged(frames, groups=2, blocks=2)[1]
        restored = converted(frames)
        torch.testing.assert_close(restored, expected, rtol=0, atol=FLOAT64_TOLERANCE)
        assert not torch.allclose(restored, network(frames))


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("name", PUBLISHED)
def test_windows_over_the_whole_picture_change_nothing(name: str, *, fast: bool) -> None:
    network, frames = small(name), pictures(16, 24)
    converted = apply_tlsc(network, 64, 96, fast=fast)
    with torch.no_grad():
        torch.testing.assert_close(converted(frames), network(frames), rtol=0, atol=FLOAT64_TOLERANCE)


def test_conversion_leaves_the_network_and_keeps_the_weights() -> None:
    network = small("mprnet_sr").train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    converted = apply_tlsc(network, (64, 32), 96)
    assert (network.tlsc, len(global_pools(network)), network.training) == (None, 31 + 3 * 2 + 1 + 2 * 2, True)
    assert (converted.tlsc, converted.training) == (TlscConfig((64, 32), (96, 96)), False)
    for attribute in ("architecture", "options", "weights", "contract"):
        assert getattr(converted, attribute) == getattr(network, attribute)
    state = converted.state_dict()
    assert state.keys() == before.keys()
    assert all(torch.equal(state[key], before[key]) for key in before)
    assert not {id(value) for value in converted.parameters()} & {id(value) for value in network.parameters()}


def test_converted_network_still_loads_the_authors_checkpoint() -> None:
    converted, other = apply_tlsc(small("mprnet"), 64, 96), create_model("mprnet", seed=5, **SMALL["mprnet"])
    converted.load_state_dict(other.state_dict(), strict=True)
    assert type(converted).options_of(converted.state_dict()) == SMALL["mprnet"]


@pytest.mark.parametrize(
    ("name", "pattern", "window"),
    [
        ("wrcan", r"body\.\d\.body\.\d\.channel_attention\.0\.avg_pool", (24, 9)),
        ("eacd", r"RCAB\.cab\.0", (96, 36)),
        ("edpn_sr", r"reconstructor1\.body\.\d\.body\.3\.global_att\.0", (96, 36)),
        ("edpn_deblock", r"reconstructor1\.body\.\d\.body\.3\.global_att\.0", (96, 36)),
    ],
)
def test_other_networks_are_measured_with_a_warning(
    name: str, pattern: str, window: Window, caplog: pytest.LogCaptureFixture
) -> None:
    network = create_model(name, **SMALL[name])
    converted = apply_tlsc(network, (16, 24), (96, 36))
    assert "unpublished" in caplog.text
    found = windows_of(converted)
    assert found.keys() == global_pools(network).keys()
    assert found
    assert all(re.fullmatch(pattern, path) and found[path] == window for path in found)
    with torch.no_grad():
        assert converted(torch.rand(1, 3, 16, 24)).isfinite().all()


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_are_not_warned_of(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="deblurrt.models"):
        apply_tlsc(create_model(name, seed=None, **SMALL[name]), 64, 96)
    assert caplog.records == []


def test_measuring_leaves_batch_norms_and_hooks_alone() -> None:
    network = create_model("eacd", **SMALL["eacd"]).train()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    converted = apply_tlsc(network, 16, 24)
    assert network.training
    for state in (network.state_dict(), converted.state_dict()):
        assert all(torch.equal(state[key], before[key]) for key in before)
    assert all(not module._forward_pre_hooks for module in [*network.modules(), *converted.modules()])


class Pyramid(DeblurNetwork):
    """One pool for the picture and for its half."""

    def __init__(self) -> None:
        super().__init__()
        self.contract = FrameContract(multiple=2, io="float")
        self.gain = nn.Parameter(torch.ones(1))
        self.pool, self.halved = nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(2)

    def forward(self, frames: Tensor) -> Tensor:
        change: Tensor = self.pool(frames) - self.pool(self.halved(frames))
        return frames + self.gain * change


def test_pool_that_sees_several_sizes_is_refused() -> None:
    with pytest.raises(UsageError, match="the pool pool of Pyramid sees maps of several sizes"):
        apply_tlsc(Pyramid(), 8, 12)


class SharedPool(DeblurNetwork):
    """One pool under two names, and pools that are not of the whole map."""

    def __init__(self) -> None:
        super().__init__()
        self.contract = FrameContract(io="float")
        self.gain = nn.Parameter(torch.ones(1))
        self.one = nn.AdaptiveAvgPool2d((1, 1))
        self.two, self.corners = self.one, nn.AdaptiveAvgPool2d(2)

    def forward(self, frames: Tensor) -> Tensor:
        change: Tensor = self.one(frames) + self.two(frames) + self.corners(frames).mean()
        return frames - self.gain * change


def test_shared_pool_is_replaced_under_each_of_its_names() -> None:
    converted = apply_tlsc(SharedPool(), 8, (4, 6))
    assert windows_of(converted) == {"one": (4, 6), "two": (4, 6)}
    assert isinstance(converted.get_submodule("corners"), nn.AdaptiveAvgPool2d)


def test_network_without_global_pools_is_refused() -> None:
    with pytest.raises(UsageError, match="carlo_net has no global pool to replace; leave TLSC out"):
        apply_tlsc(create_model("carlo_net", seed=None, **SMALL["carlo_net"]), 64, 96)


def test_converted_network_is_refused() -> None:
    converted = apply_tlsc(create_model("mprnet", seed=None, **SMALL["mprnet"]), 64, 96)
    with pytest.raises(UsageError, match="the pools of mprnet are local already"):
        apply_tlsc(converted, 64, 96)


@pytest.mark.parametrize(("name", "multiple"), [("mprnet", 8), ("wrcan", 4)])
def test_training_size_the_network_does_not_take_is_refused(name: str, multiple: int) -> None:
    network = create_model(name, seed=None, **SMALL[name])
    with pytest.raises(UsageError, match=f"the training size is 64x90, {name} takes multiples of {multiple}"):
        apply_tlsc(network, (64, 90), 96)


@pytest.mark.parametrize("sizes", [(0, 96), ((64, -8), 96), (64, (0, 96))])
def test_sizes_that_are_not_positive_are_refused(sizes: tuple[Size, Size]) -> None:
    with pytest.raises(UsageError, match="expected pixels from 1"):
        apply_tlsc(create_model("mprnet", seed=None, **SMALL["mprnet"]), *sizes)


def test_approximation_has_the_same_windows_and_steps_by_scale() -> None:
    network = create_model("mprnet", seed=None, **SMALL["mprnet"])
    fast = apply_tlsc(network, 64, 96, fast=True)
    pools = {path: pool for path, pool in fast.named_modules() if isinstance(pool, FastLocalAvgPool2d)}
    assert {path: pool.window for path, pool in pools.items()} == windows_of(apply_tlsc(network, 64, 96))
    assert fast.tlsc == TlscConfig((64, 64), (96, 96), fast=True)
    level = "CA.avg_pool"
    steps = {path.removesuffix(f".{level}"): pool.most_steps for path, pool in pools.items()}
    assert steps["shallow_feat3.1"] == (5, 5)
    assert steps["stage1_decoder.skip_attn1"] == (2, 5)
    assert steps["stage1_decoder.skip_attn2"] == (1, 2)
    assert steps["stage1_encoder.encoder_level3.0"] == (0, 0)


def test_gates_on_whole_maps_cost_what_they_do_in_the_authors_code() -> None:
    with torch.device("meta"):
        converted = apply_tlsc(create_model("mprnet_sr"), 64, 96)
    # no convolution sees a single value any more; the authors' code draws the small picture of stage 3 too
    per_pixel = mac_count(converted, (8, 8)) / 64 + 128 * 3 * 9
    for height, width, gmac in [(184, 320, 1_525), (176, 320, 1_458), (720, 1280, 23_865)]:
        assert per_pixel * height * width / 1e9 == pytest.approx(gmac, abs=GMAC_ROUNDING)


def test_mprnet_costs_more_than_the_authors_whose_gates_see_one_value_per_window() -> None:
    with torch.device("meta"):
        network = create_model("mprnet")
    converted = apply_tlsc(network, 256, 384)
    (height, width), layout = (720, 1280), LAYOUTS["mprnet"]()
    single = on_maps = on_windows = 0
    for path, (tall, wide) in windows_of(converted).items():
        macs = 2 * math.prod(layout[path.replace("avg_pool", "conv_du.0.weight")])
        scale = network.pool_scales()[path]
        rows, columns = int(scale[0] * height), int(scale[1] * width)
        parts = PARTS.get(path.partition(".")[0], 1)
        single += parts * macs
        on_maps += parts * macs * rows * columns
        on_windows += parts * macs * (rows - min(rows, tall) + 1) * (columns - min(columns, wide) + 1)
    without_gates = mac_count(network, (height, width)) - single
    assert mac_count(converted, (height, width)) == without_gates + on_maps
    assert (without_gates + on_windows) / 1e9 == pytest.approx(10_768, abs=GMAC_ROUNDING)


def test_traced_network_with_local_pools_takes_smaller_and_larger_maps_than_its_windows() -> None:
    # the quickest to trace; its pools see a quarter of the picture's sides
    network = create_model("wrcan", n_feats=4, n_resgroups=1, n_resblocks=1)
    converted = apply_tlsc(network, 16, 24)
    height, width = Dim("height", min=2, max=256), Dim("width", min=2, max=256)
    sides = {2: 4 * height, 3: 4 * width}
    traced = export(converted, (pictures(16, 24).float(),), dynamic_shapes=(sides,)).module()
    with torch.no_grad():
        for size in [(12, 20), (40, 64)]:
            frames = pictures(*size).float()
            torch.testing.assert_close(traced(frames), converted(frames), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("64:96", TlscConfig((64, 64), (96, 96))),
        ("64x64:96x96", TlscConfig((64, 64), (96, 96))),
        ("256:384x200", TlscConfig((256, 256), (384, 200))),
        ("320x180:96", TlscConfig((320, 180), (96, 96))),
    ],
)
def test_sizes_are_read_off_the_command(text: str, expected: TlscConfig) -> None:
    assert parse_tlsc(text) == expected


@pytest.mark.parametrize(
    "text", ["", "64", "64:", ":96", "64-96", "64:96:128", "64x:96", "64x64x64:96", "-64:96", "6.4:9", "a:b", "64 :96"]
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{text!r} is no TRAIN:BASE; expected sides such as 256:384")):
        parse_tlsc(text)


@pytest.mark.parametrize("text", ["0:96", "64:0", "64x0:96", "64:96x0"])
def test_sides_of_zero_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected pixels from 1"):
        parse_tlsc(text)
