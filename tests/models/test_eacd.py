"""EACD against a plain recomputation, its shared blocks and the sizes the paper gives."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export
from torch.nn import functional

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import UsageError
from deblurrt.models.eacd import Eacd
from deblurrt.models.reparameterise import drop_unused, fold_batch_norm, mac_count, parameter_count
from deblurrt.models.zoo import create_model

State = dict[str, Tensor]

WIDTH = 16
UNUSED = {"block1": 295_168, "block2": 147_840, "conv32": 147_584, "featconv": 110_656, "feat4conv": 49_280}
#: float32 sums of another order through some eighty layers; values are about 1
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def full_size() -> Eacd:
    with torch.device("meta"):
        return Eacd()


@pytest.fixture(scope="module")
def small() -> Eacd:
    network = create_model("eacd", channels=WIDTH)
    assert isinstance(network, Eacd)
    return network


def pictures(height: int, width: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


class Recomputation:
    """The network written once more, with nothing but functions and the authors' keys."""

    def __init__(self, state: State) -> None:
        self.state = state

    def conv(self, key: str, x: Tensor, dilation: int = 1) -> Tensor:
        weight = self.state[f"{key}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        return functional.conv2d(x, weight, self.state.get(f"{key}.bias"), 1, padding, dilation)

    def silu(self, key: str, x: Tensor) -> Tensor:
        y = self.conv(key, x)
        return y * torch.sigmoid(y)

    def edge(self, x: Tensor) -> Tensor:
        y = x
        for place in (0, 2, 4, 6, 8):
            y = self.silu(f"edgeblock.{place}", y)
        return x - self.conv("edgeblock.10", y)

    def features(self, x: Tensor) -> Tensor:
        y = torch.cat([self.silu(f"kernelbox.kernel{side}", x) for side in (1, 3, 5, 7)], dim=1)
        return self.conv("kernelbox.conv", self.silu("kernelbox.conv2", self.silu("kernelbox.feat2feat", y)))

    def dense(self, x: Tensor) -> Tensor:
        y = x
        for layer in range(3):
            y = torch.cat([y, self.silu(f"RDB.dense_layers.{layer}.conv", y)], dim=1)
        return self.conv("RDB.conv_1x1", y) + x

    def pyramid(self, x: Tensor) -> Tensor:
        views = [self.conv("aspp.conv1.0", x)]
        views += [self.conv(f"aspp.conv{dilation}.0", x, dilation) for dilation in (6, 12, 18)]
        return self.conv("aspp.platlayer.1", self.silu("aspp.feat2feat", torch.cat(views, dim=1))) + x

    def attention(self, x: Tensor) -> Tensor:
        y = self.conv("RCAB.firstblock.2", self.silu("RCAB.firstblock.0", x))
        gate = torch.sigmoid(self.conv("RCAB.cab.3", self.silu("RCAB.cab.1", y.mean((2, 3), keepdim=True))))
        return y * gate + x

    def attentions(self, x: Tensor) -> Tensor:
        return self.conv("conv3", self.attention(self.attention(self.attention(x)))) + x

    def normalised(self, branch: str, place: int, x: Tensor, dilation: int) -> Tensor:
        y = self.conv(f"{branch}.{place}", x, dilation)
        scale, shift, mean, variance = (
            self.state[f"{branch}.{place + 1}.{name}"].reshape(1, -1, 1, 1)
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        y = (y - mean) / torch.sqrt(variance + 1e-5) * scale + shift
        return y * torch.sigmoid(y)

    def one(self, x: Tensor) -> Tensor:
        y = self.silu("one.0", x)
        for block in range(15):
            y = self.normalised("one", 2 + 3 * block, y, 1)
        return self.conv("one.47", y)

    def two(self, x: Tensor) -> Tensor:
        y = self.silu("two.0", x)
        for block in range(14):
            y = self.normalised("two", 2 + 3 * block, y, 1 if block in (6, 7) else 2)
        return self.conv("two.46", self.silu("two.44", y))

    def group(self, x: Tensor) -> Tensor:
        y = x
        for _ in range(9):
            y = self.conv("RG.block1.2", self.silu("RG.block1.0", y)) + y
        return self.conv("RG.conv32", y) + x

    def restored(self, x: Tensor) -> tuple[Tensor, Tensor]:
        edge = self.edge(x)
        u = self.conv("conv2", torch.cat([x, self.features(x), x + edge, edge], dim=1))
        v = self.attentions(self.pyramid(self.dense(self.dense(u))))
        o1, o2 = (self.conv("feat2conv", torch.cat([branch, v], dim=1)) for branch in (self.one(v), self.two(v)))
        m = self.conv("feat2conv", torch.cat([o1 + v, o2 + v], dim=1))
        w = self.attentions(self.pyramid(self.pyramid(self.dense(self.dense(m)))))
        g = self.conv("conv3", self.group(self.group(self.group(w)))) + w
        return self.conv("lastblock.0", g) + x, edge


@pytest.mark.parametrize(
    ("part", "parameters"),
    [
        ("edgeblock", 150_912),
        ("kernelbox", 69_955),
        ("RDB", 93_184),
        ("aspp", 135_296),
        ("RCAB", 74_308),
        ("one", 629_696),
        ("two", 628_672),
        ("RG", 110_784),
        ("conv3", 36_928),
        ("feat2conv", 73_792),
        ("conv2", 6_976),
        ("lastblock", 195),
        *UNUSED.items(),
        ("", 2_761_226),
    ],
)
def test_part_has_the_authors_number_of_parameters(full_size: Eacd, part: str, parameters: int) -> None:
    assert parameter_count(full_size.get_submodule(part)) == parameters


def test_checkpoint_holds_268_tensors_and_3998_values_besides_parameters(full_size: Eacd) -> None:
    assert len(full_size.state_dict()) == 268
    assert sum(buffer.numel() for buffer in full_size.buffers()) == 3_998


def test_cost_is_that_of_the_authors_code(full_size: Eacd) -> None:
    assert mac_count(full_size, (720, 1280)) / 1e9 == pytest.approx(4_732, abs=0.5)


def test_contract_is_of_one_frame_of_any_size_that_sees_everything(small: Eacd) -> None:
    assert small.contract == FrameContract(task="deblur_jpeg", multiple=1, halo_px="global", io="float")


@pytest.mark.parametrize("size", [(1, 1), (7, 10), (24, 31)])
def test_picture_and_edges_are_the_recomputed_ones(small: Eacd, size: tuple[int, int]) -> None:
    frames = pictures(*size)
    with torch.no_grad():
        found = small.forward_all(frames)
        expected = Recomputation(small.state_dict()).restored(frames)
    torch.testing.assert_close(found, expected, rtol=0, atol=ROUNDING)


def test_restored_picture_is_the_first_of_all(small: Eacd) -> None:
    frames = pictures(9, 8)
    with torch.no_grad():
        assert torch.equal(small(frames), small.forward_all(frames)[0])


def test_silent_last_layer_returns_the_blurred_picture() -> None:
    network, frames = Eacd(channels=WIDTH).eval(), pictures(8, 8)
    for parameter in network.lastblock.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        assert torch.equal(network(frames), frames)


def test_every_block_is_one_instance_called_as_often_as_the_authors_call_it() -> None:
    network, calls = create_model("eacd", channels=WIDTH), Counter[str]()
    for name in ["edgeblock", "kernelbox", "RDB", "aspp", "RCAB", "one", "two", "RG", "RG.block1", *UNUSED]:
        network.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.update([name]))
    for name in ("conv2", "conv3", "feat2conv", "lastblock"):
        network.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.update([name]))
    with torch.no_grad():
        network(pictures(8, 8))
    once = dict.fromkeys(["edgeblock", "kernelbox", "one", "two", "conv2", "lastblock"], 1)
    assert calls == once | {"RDB": 4, "aspp": 3, "RCAB": 6, "RG": 3, "RG.block1": 27, "conv3": 3, "feat2conv": 3}


def test_unused_modules_are_those_without_a_gradient() -> None:
    network = create_model("eacd", channels=WIDTH)
    network(pictures(8, 8)).square().mean().backward()
    without = {key.partition(".")[0] for key, parameter in network.named_parameters() if parameter.grad is None}
    assert without == set(network.unused) == set(UNUSED)


def test_edges_train_only_their_own_block() -> None:
    network = Eacd(channels=WIDTH)
    torch.autograd.backward(network.forward_all(pictures(8, 8))[1].square().mean())
    trained = {key.partition(".")[0] for key, parameter in network.named_parameters() if parameter.grad is not None}
    assert trained == {"edgeblock"}


@pytest.mark.parametrize("options", [{}, {"channels": 16}, {"channels": 48}])
def test_width_is_read_off_the_weights(options: dict[str, int]) -> None:
    with torch.device("meta"):
        assert Eacd.options_of(Eacd(**options).state_dict()) == options


def test_foreign_weights_are_not_recognised(small: Eacd) -> None:
    state = small.state_dict()
    assert Eacd.options_of({}) is None
    assert Eacd.options_of({"conv2.weight": state["conv2.weight"], "fc.weight": torch.ones(3)}) is None
    assert Eacd.options_of({key: value for key, value in state.items() if not key.startswith("kernelbox.")}) is None
    assert Eacd.options_of(state | {"kernelbox.kernel7.weight": torch.tensor(1.0)}) is None


def test_changed_networks_are_not_recognised(small: Eacd) -> None:
    assert Eacd.options_of(fold_batch_norm(small).state_dict()) is None
    assert Eacd.options_of(drop_unused(small).state_dict()) is None


def test_gates_without_channels_are_refused() -> None:
    with pytest.raises(UsageError, match="channels=15; expected at least 16"):
        Eacd(channels=15)


def test_traced_network_takes_other_sizes(small: Eacd) -> None:
    sides = {2: Dim("height", max=2048), 3: Dim("width", max=2048)}
    traced = export(small, (pictures(16, 24),), dynamic_shapes=(sides,)).module()
    frames = pictures(11, 13)
    with torch.no_grad():
        torch.testing.assert_close(traced(frames), small(frames), rtol=0, atol=ROUNDING)
