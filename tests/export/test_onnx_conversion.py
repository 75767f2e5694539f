"""One file becomes another of the same network: types, size, ends, target, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from deblurrt.core.artifacts import CONTRACT_KEY, PROVENANCE_KEY, load_whole, write_onnx
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import ModelFileError, UsageError
from deblurrt.export.deployment import WRAPPING, bare_graph, deployment_graph
from deblurrt.export.export_config import ExportConfig
from deblurrt.export.graph_passes import fix_sizes
from deblurrt.export.onnx_conversion import OnnxConversion, contract_in, precision_of
from deblurrt.export.parity import Window, sample_windows
from deblurrt.export.student_graph import student_model
from deblurrt.models.student_config import STUDENT_S
from deblurrt.plugins.onnx_ops import uses_plugins
from tests.export.float_networks import (
    PROVENANCE,
    contract_of,
    export,
    interface,
    network,
    random_bytes,
    random_frames,
    run,
    small_windows,
)
from tests.export.test_student_graph import random_weights
from tests.tiny_graphs import write_conv

#: a multiple of 8 and no multiple of it
FILLED, UNEVEN = (24, 32), (21, 30)
#: window, scale, multiple: every value of each, and all of them at once
FORMS = [
    contract_of(),
    contract_of(window=3),
    contract_of(scale=4),
    contract_of(multiple=8),
    contract_of(window=3, scale=4, multiple=8),
]
PLAIN = contract_of(multiple=8)


def form_id(contract: FrameContract) -> str:
    return f"window{contract.window}-scale{contract.scale}-multiple{contract.multiple}"


def convert(model: onnx.ModelProto, windows: list[Window] | None = None, **config: Any) -> onnx.ModelProto:
    """A file made of ``model``, which is left as it is."""
    is_fixed = isinstance(interface(model)[0][2][-2], int)
    if windows is None and not is_fixed and model.metadata_props:
        windows = small_windows(contract_in(model, "file.onnx"))
    converted: onnx.ModelProto = OnnxConversion(
        copy.deepcopy(model), "file.onnx", ExportConfig(**config), windows
    ).run()
    return converted


def as_bytes(model: onnx.ModelProto) -> bytes:
    content: bytes = model.SerializeToString(deterministic=True)
    return content


@pytest.fixture(scope="module")
def dynamic() -> onnx.ModelProto:
    """A file of any size, in fp32, with bytes at its ends."""
    return export(PLAIN)


@pytest.fixture(scope="module")
def half() -> onnx.ModelProto:
    return export(PLAIN, precision="fp16")


@pytest.fixture(scope="module")
def fixed() -> onnx.ModelProto:
    """A file for frames that are filled up inside."""
    return export(PLAIN, size=UNEVEN)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"precision": "fp16"},
        {"precision": "bf16"},
        {"io": "float"},
        {"size": UNEVEN},
        {"size": FILLED, "io": "float"},
        {"size": UNEVEN, "precision": "fp16"},
        {"target": "onnxruntime"},
        {"target": "openvino", "precision": "fp16"},
        {"strict": True},
    ],
    ids=str,
)
def test_file_of_a_file_is_the_file_of_the_network_byte_for_byte(
    dynamic: onnx.ModelProto, config: dict[str, Any]
) -> None:
    assert as_bytes(convert(dynamic, **config)) == as_bytes(export(PLAIN, **config))


@pytest.mark.parametrize("contract", FORMS, ids=form_id)
@pytest.mark.parametrize("size", [None, FILLED, UNEVEN], ids=str)
def test_unwrapping_gives_the_wrapped_network_back(contract: FrameContract, size: tuple[int, int] | None) -> None:
    original, wrapped = network(contract), deployment_graph(network(contract), contract)
    filled = [-(-side // contract.multiple) * contract.multiple for side in size or FILLED]
    if size is not None:
        fix_sizes(wrapped, 1, *size)
        fix_sizes(original, 1, *filled)
    bare = bare_graph(wrapped, contract)
    onnx.checker.check_model(bare, full_check=True)
    assert interface(bare)[0] == interface(original)[0]
    assert [node.SerializeToString() for node in bare.graph.node] == [
        node.SerializeToString() for node in original.graph.node
    ]
    frames = random_frames(contract, (filled[0], filled[1]))
    restored = run(bare, frames)
    assert restored.shape == (1, 3, contract.scale * filled[0], contract.scale * filled[1])
    np.testing.assert_array_equal(restored, run(original, frames))


@pytest.mark.parametrize("contract", FORMS, ids=form_id)
def test_bytes_to_floats_and_back_is_the_same_file(contract: FrameContract) -> None:
    deployed = export(contract)
    floats = convert(deployed, io="float")
    assert contract_in(floats, "floats").io == "float"
    assert not any(node.name.startswith(WRAPPING) for node in floats.graph.node)
    again = convert(floats)
    assert as_bytes(again) == as_bytes(deployed)
    frames = random_bytes(contract, UNEVEN)
    assert run(again, frames).std() > 5, "a flat picture would prove nothing"


@pytest.mark.parametrize("contract", [FORMS[0], FORMS[-1]], ids=form_id)
def test_file_of_fixed_size_takes_other_ends_and_targets(contract: FrameContract) -> None:
    fixed = export(contract, size=FILLED)
    floats = convert(fixed, size=FILLED, io="float")
    frames = random_bytes(contract, FILLED)
    assert interface(floats)[0][2] == [1, 3 * contract.window, *FILLED]
    again = convert(floats, size=FILLED, target="openvino")
    assert interface(again) == interface(fixed)
    np.testing.assert_array_equal(run(again, frames), run(fixed, frames))


def test_file_of_fixed_size_larger_than_sample_pictures_is_compared_at_its_size() -> None:
    """192x328 is more than what pictures are cut to for files of any size."""
    contract, size = contract_of(), (192, 328)
    work = OnnxConversion(export(contract, size=size), "file.onnx", ExportConfig(size, "fp16"))
    work.run()
    stages = {stage.name: [parity.size for parity in stage.results] for stage in work.report().stages}
    assert stages == {"fp32->typed": [size], "typed->fixed": [size], "lowered->deployed": [size]}
    assert work.report().notes == ()


def test_pictures_larger_than_a_fixed_file_are_cut_to_their_middle(fixed: onnx.ModelProto) -> None:
    work = OnnxConversion(
        copy.deepcopy(fixed), "file.onnx", ExportConfig(UNEVEN), sample_windows(1, [(40, 50), UNEVEN])
    )
    work.run()
    assert "larger pictures were compared in their middle, 21x30" in work.report().notes


def test_pictures_smaller_than_a_fixed_file_are_refused(fixed: onnx.ModelProto) -> None:
    with pytest.raises(
        UsageError, match=r"^file.onnx is fixed to 21x30, a picture to compare on has 16x50; give larger ones$"
    ):
        convert(fixed, sample_windows(1, [(16, 50)]), size=UNEVEN)


def test_half_precision_file_takes_a_size_and_a_target(half: onnx.ModelProto) -> None:
    small = convert(half, precision="fp16", size=UNEVEN, target="openvino")
    assert precision_of(small) == "fp16"
    frames = random_bytes(PLAIN, UNEVEN)
    # local pools of fixed size are plain average pools, whose sums have another order: one level at a tie
    assert np.abs(run(small, frames).astype(int) - run(half, frames)).max() <= 1


@pytest.mark.parametrize(("precision", "typed"), [("fp32", False), ("fp16", True), ("bf16", True)])
def test_precision_of_a_file_is_found_in_its_graph(precision: str, typed: bool) -> None:
    model = export(PLAIN, precision=precision)
    assert precision_of(model) == precision
    assert any(tensor.data_type in (10, 16) for tensor in model.graph.initializer) is typed


def test_file_for_openvino_holds_standard_operators_only(dynamic: onnx.ModelProto) -> None:
    made = convert(dynamic, target="openvino")
    assert uses_plugins(dynamic) == ["LocalAvgPool"]
    assert uses_plugins(made) == []
    assert not made.functions
    assert [entry.domain for entry in made.opset_import] == [""]


def test_strict_file_holds_operators_without_bodies_and_gets_them_back(dynamic: onnx.ModelProto) -> None:
    strict = convert(dynamic, strict=True)
    assert (uses_plugins(strict), len(strict.functions)) == (["LocalAvgPool"], 0)
    assert as_bytes(convert(strict)) == as_bytes(dynamic)


def test_provenance_is_kept_and_the_contract_follows_the_ends(dynamic: onnx.ModelProto) -> None:
    made = convert(dynamic, precision="fp16", io="float")
    metadata = {entry.key: entry.value for entry in made.metadata_props}
    assert json.loads(metadata[PROVENANCE_KEY]) == PROVENANCE
    assert contract_in(made, "made") == PLAIN


@pytest.mark.parametrize("text", ["not JSON", "[1]"])
def test_unreadable_provenance_becomes_an_empty_one(dynamic: onnx.ModelProto, text: str) -> None:
    model = copy.deepcopy(dynamic)
    next(entry for entry in model.metadata_props if entry.key == PROVENANCE_KEY).value = text
    metadata = {entry.key: entry.value for entry in convert(model, io="float").metadata_props}
    assert metadata[PROVENANCE_KEY] == "{}"


def test_weights_beside_a_file_are_read_as_if_they_were_inside(dynamic: onnx.ModelProto, tmp_path: Path) -> None:
    file = write_onnx(copy.deepcopy(dynamic), tmp_path / "file.onnx", external_data=True)
    assert len(file.weight_files) == 1
    assert as_bytes(load_whole(file)) == as_bytes(dynamic)


def test_missing_weights_beside_the_file_are_named(dynamic: onnx.ModelProto, tmp_path: Path) -> None:
    file = write_onnx(copy.deepcopy(dynamic), tmp_path / "file.onnx", external_data=True)
    (tmp_path / file.weight_files[0]).unlink()
    with pytest.raises(ModelFileError, match=r"^file.onnx cannot be read whole \(.*\); is its .data file beside it\?$"):
        load_whole(file)


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_half_precision_cannot_be_taken_back(half: onnx.ModelProto, wanted: str) -> None:
    with pytest.raises(UsageError, match=f"computes in fp16 already, --precision {wanted} needs the fp32 file"):
        convert(half, precision=wanted)


@pytest.mark.parametrize(("size", "told"), [((24, 32), "24x32"), (None, "any size")])
def test_fixed_size_cannot_be_changed(fixed: onnx.ModelProto, size: tuple[int, int] | None, told: str) -> None:
    with pytest.raises(UsageError, match=f"file.onnx is fixed to 21x30, asked for {told}; export the network again"):
        convert(fixed, size=size)


def refusal(model: onnx.ModelProto) -> str:
    """The one line that says why a file is no file to convert."""
    with pytest.raises(ModelFileError) as caught:
        convert(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_file_without_contract_is_refused(dynamic: onnx.ModelProto) -> None:
    model = copy.deepcopy(dynamic)
    del model.metadata_props[:]
    assert refusal(model).startswith("file.onnx does not say what it needs of frames")


def with_contract(model: onnx.ModelProto, text: str) -> onnx.ModelProto:
    changed = copy.deepcopy(model)
    next(entry for entry in changed.metadata_props if entry.key == CONTRACT_KEY).value = text
    return changed


def test_file_with_an_impossible_contract_is_refused(dynamic: onnx.ModelProto) -> None:
    assert refusal(with_contract(dynamic, '{"window": 2}')) == "file.onnx: window is 2, expected one of 1, 3"


def test_file_that_is_not_what_its_contract_says_is_refused() -> None:
    model = with_contract(export(PLAIN, io="float"), contract_of(window=3, multiple=8).to_json())
    assert refusal(model).startswith("file.onnx cannot be run: ONNX Runtime fails on [1, 9, 16, 24]: ")


def test_file_whose_input_has_another_name_is_refused(tmp_path: Path) -> None:
    path = write_conv(tmp_path / "file.onnx", np.zeros((3, 3, 3, 3), np.float32), contract_of())
    model = onnx.load(path)
    model.graph.input[0].name = model.graph.node[0].input[0] = "picture"
    assert refusal(model).startswith("file.onnx cannot be run: ")


def test_operator_nobody_has_is_refused() -> None:
    model = export(contract_of(), io="float")
    model.opset_import.add(domain="elsewhere", version=1)
    model.graph.node[0].op_type, model.graph.node[0].domain = "Sharpen", "elsewhere"
    message = refusal(model)
    assert message.startswith("file.onnx cannot be run: ONNX Runtime refuses the graph: ")
    assert "Sharpen" in message


def test_deployment_graph_that_has_no_network_inside_is_refused() -> None:
    """A student's own graph of bytes is written as a whole, without a float network to take out."""
    model = student_model(STUDENT_S, random_weights(STUDENT_S), PROVENANCE, io="uint8")
    with pytest.raises(UsageError, match=r"was not written by deblurrt export; .* its .safetensors file"):
        convert(model)
