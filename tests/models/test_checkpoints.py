"""The authors' checkpoints: every layout loads strictly and is given back."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from deblurrt.core.errors import ModelFileError, UsageError
from deblurrt.models import ZOO, create_model, load_checkpoint, model_from_checkpoint, official_state_dict
from deblurrt.models.keras_network import KerasNetwork
from deblurrt.models.network import DeblurNetwork
from deblurrt.models.reparameterise import drop_unused, fold_batch_norm
from tests.models.keras_files import write_keras_2
from tests.models.official_layouts import ENTRIES, LAYOUTS, Shapes
from tests.models.small_zoo import SMALL

State = dict[str, Tensor]


def random_state(shapes: Shapes, seed: int = 0) -> State:
    """Random values; what MPRNet shares, its one slope, is the same number everywhere."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
        elif (shape == (1,) and key.endswith("body.1.weight")) or key == "SRNet_before_rec.1.weight":
            state[key] = torch.tensor([0.3])
        else:
            spread = 1 / math.sqrt(max(1, math.prod(shape[1:])))
            state[key] = torch.rand(shape, generator=generator) * spread + 0.01
    return state


def write(name: str, state: State, folder: Path) -> Path:
    """Write what the authors would."""
    if name in ("carlo_net", "kaist_net", "atrous_net"):
        return write_keras_2(folder / "weights-20200101.h5", {key: value.numpy() for key, value in state.items()})
    torch.save(state, folder / "weights.pth")
    return folder / "weights.pth"


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ZOO)
def test_full_size_network_has_the_authors_keys_and_shapes(name: str) -> None:
    with torch.device("meta"):
        network = create_model(name)
    if isinstance(network, KerasNetwork):
        network = create_model(name, seed=None)
    got = {key: tuple(value.shape) for key, value in official_state_dict(network).items()}
    assert got == LAYOUTS[name]()
    assert len(got) == ENTRIES.get(name, len(got))


@pytest.mark.parametrize("name", ZOO)
def test_checkpoint_loads_strictly_and_is_given_back(name: str, tmp_path: Path) -> None:
    state = random_state(LAYOUTS[name](**SMALL[name]))
    path = write(name, state, tmp_path)
    network = create_model(name, **SMALL[name])
    load_checkpoint(network, path)
    assert same(official_state_dict(network), state)
    assert network.weights == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ZOO)
def test_options_are_read_off_the_checkpoint(name: str, tmp_path: Path) -> None:
    path = write(name, random_state(LAYOUTS[name](**SMALL[name])), tmp_path)
    network = model_from_checkpoint(path, name)
    assert network.architecture == name
    assert same(official_state_dict(network), random_state(LAYOUTS[name](**SMALL[name])))


@pytest.mark.parametrize("name", [name for name in ZOO if name != "edpn_sr_13m"])
def test_network_is_recognised_without_its_name(name: str, tmp_path: Path) -> None:
    path = write(name, random_state(LAYOUTS[name](**SMALL[name])), tmp_path)
    assert model_from_checkpoint(path).architecture == name


def test_shared_transfer_blocks_are_recognised_by_their_values(tmp_path: Path) -> None:
    network = create_model("edpn_deblock", share_levels=True, **SMALL["edpn_deblock"])
    torch.save(network.state_dict(), tmp_path / "shared.pth")
    loaded = model_from_checkpoint(tmp_path / "shared.pth")
    assert loaded.options["share_levels"] is True
    assert same(loaded.state_dict(), network.state_dict())


@pytest.mark.parametrize("wrap", [lambda state: {"epoch": 3, "state_dict": state}, lambda state: {"model": state}])
def test_wrapped_checkpoint_with_a_prefix_loads(wrap: Callable[[State], object], tmp_path: Path) -> None:
    state = random_state(LAYOUTS["mprnet"](**SMALL["mprnet"]))
    torch.save(wrap({f"module.{key}": value for key, value in state.items()}), tmp_path / "w.pth")
    assert same(official_state_dict(model_from_checkpoint(tmp_path / "w.pth")), state)


@pytest.mark.parametrize("name", ["eacd", "carlo_net", "kaist_net", "atrous_net"])
def test_safetensors_of_our_own_keys_load(name: str, tmp_path: Path) -> None:
    network = create_model(name, **SMALL[name])
    save_file({key: value.clone() for key, value in network.state_dict().items()}, tmp_path / "w.safetensors")
    assert same(model_from_checkpoint(tmp_path / "w.safetensors").state_dict(), network.state_dict())


def message(network: DeblurNetwork, state: State, tmp_path: Path) -> str:
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelFileError) as caught:
        load_checkpoint(network, tmp_path / "w.pth")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_missing_and_unexpected_keys_are_named_with_the_nearest(tmp_path: Path) -> None:
    network = create_model("eacd", channels=16)
    state = network.state_dict()
    state["conv2.wait"] = state.pop("conv2.weight")
    text = message(network, state, tmp_path)
    assert "does not fit eacd(channels=16): missing conv2.weight (is it conv2.wait?); unexpected conv2.wait" in text


def test_many_missing_keys_are_counted(tmp_path: Path) -> None:
    network = create_model("eacd", channels=16)
    state = {key: value for key, value in network.state_dict().items() if not key.startswith("one.")}
    assert message(network, state, tmp_path).endswith("and 106 more; it fits no network of the zoo")


def test_checkpoint_of_another_network_names_the_one_it_fits(tmp_path: Path) -> None:
    state = random_state(LAYOUTS["mprnet"](**SMALL["mprnet"]))
    text = message(create_model("wrcan", **SMALL["wrcan"]), state, tmp_path)
    assert "; it fits create_model('mprnet', n_feat=16, scale_unetfeats=8, scale_orsnetfeats=8, num_cab=2)" in text


def test_checkpoint_of_another_width_names_the_options(tmp_path: Path) -> None:
    state = random_state(LAYOUTS["wrcan"](n_feats=8, n_resgroups=2, n_resblocks=2))
    text = message(create_model("wrcan", **SMALL["wrcan"]), state, tmp_path)
    assert "other shapes: " in text
    assert "head.0.weight [8, 3, 3, 3] instead of [4, 3, 3, 3]" in text
    assert "create_model('wrcan', n_feats=8" in text


def test_checkpoint_of_no_network_says_so(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.ones(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelFileError, match="of none of wrcan, edpn_sr"):
        model_from_checkpoint(tmp_path / "other.pth")


def test_checkpoint_of_another_network_than_named_is_refused(tmp_path: Path) -> None:
    torch.save(random_state(LAYOUTS["eacd"](channels=16)), tmp_path / "eacd.pth")
    with pytest.raises(ModelFileError, match="is of eacd, not of wrcan"):
        model_from_checkpoint(tmp_path / "eacd.pth", "wrcan")
    with pytest.raises(UsageError, match="no network called 'resnet'"):
        model_from_checkpoint(tmp_path / "eacd.pth", "resnet")


def test_copies_of_one_parameter_that_differ_are_refused(tmp_path: Path) -> None:
    network = create_model("mprnet", **SMALL["mprnet"])
    state = network.state_dict()
    state["stage3_orsnet.orb2.body.1.body.1.weight"] = torch.tensor([0.9])
    assert "are one parameter of mprnet" in message(network, state, tmp_path)


def test_keras_weights_for_a_pytorch_network_name_their_own(tmp_path: Path) -> None:
    path = write("carlo_net", random_state(LAYOUTS["carlo_net"](channels=6)), tmp_path)
    with pytest.raises(
        ModelFileError, match=r"holds Keras weights, eacd.*fits create_model\('carlo_net', channels=6\)"
    ):
        load_checkpoint(create_model("eacd", channels=16), path)


def test_changed_networks_have_no_official_layout() -> None:
    network = create_model("eacd", channels=16)
    with pytest.raises(UsageError, match="was changed"):
        official_state_dict(fold_batch_norm(network))
    with pytest.raises(UsageError, match="was changed"):
        official_state_dict(drop_unused(network))


def test_given_state_dict_is_a_copy() -> None:
    network = create_model("carlo_net", channels=4)
    official_state_dict(network)["conv2d/bias:0"].fill_(9)
    assert not bool((official_state_dict(network)["conv2d/bias:0"] == 9).any())
