from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deblurrt.core.artifacts import PROVENANCE_KEY, SUMMARY_KEY
from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import ModelFileError
from deblurrt.core.external_data import ExternalData
from deblurrt.core.tensors import TensorSpec
from deblurrt.export.onnx_report import Function, Plugin, report_onnx
from tests.tiny_graphs import FLOAT_FRAMES, FLOATS, value, write_conv, write_identity

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, 3)).astype(np.float32)
CONTRACT = FrameContract(io="float", multiple=4)


@pytest.fixture
def conv(tmp_path: Path) -> Path:
    return write_conv(tmp_path / "conv.onnx", KERNEL, CONTRACT)


def with_metadata(path: Path, **entries: object) -> Path:
    model = onnx.load(path)
    for key, entry in entries.items():
        model.metadata_props.add(key=f"deblurrt.{key}", value=json.dumps(entry))
    onnx.save(model, path)
    return path


def write_plugin(path: Path, operator: str = "OtherPool", domain: str = "deblurrt", body: bool = False) -> Path:
    """Write two nodes of another domain and a choice between two constants of an inner graph."""
    nodes = [
        helper.make_node(operator, ["frames"], ["pooled"], domain=domain),
        helper.make_node(operator, ["pooled"], ["again"], domain=domain),
        helper.make_node("If", ["choice"], ["lift"], then_branch=branch(1), else_branch=branch(2)),
        helper.make_node("Add", ["again", "lift"], ["restored"]),
    ]
    inputs = [value("frames", FLOATS, FLOAT_FRAMES)]
    choice = numpy_helper.from_array(np.array(True), "choice")
    graph = helper.make_graph(nodes, "tiny", inputs, [value("restored", FLOATS, FLOAT_FRAMES)], [choice])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(domain, 1)]
    functions = []
    if body:
        inner = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["y"], ["z"])]
        functions = [helper.make_function(domain, operator, ["x"], ["z"], inner, opsets[:1])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10), path)
    return path


def branch(number: float) -> onnx.GraphProto:
    constant = numpy_helper.from_array(np.array([number], np.float32), "number")
    node = helper.make_node("Constant", [], ["lifted"], value=constant)
    output = helper.make_tensor_value_info("lifted", TensorProto.FLOAT, [1])
    return helper.make_graph([node], "branch", [], [output])


def write_external(path: Path) -> Path:
    """Write the convolution with its weights in ``weights.bin``."""
    model = onnx.load(write_conv(path, KERNEL, CONTRACT))
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_report_holds_the_facts_of_the_file(conv: Path) -> None:
    report = report_onnx(conv)
    data = conv.read_bytes()
    assert (report.size_bytes, report.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (report.ir_version, report.opsets) == (10, {"ai.onnx": 20, "elsewhere": 1})
    assert report.file.inputs == (TensorSpec("frames", "float32", FLOAT_FRAMES),)
    assert report.file.outputs == (TensorSpec("restored", "float32", FLOAT_FRAMES),)
    assert report.file.contract == CONTRACT
    assert (report.operators, report.stored, report.parameters) == ({"Conv": 1}, {"float32": 81}, 81)
    assert (report.functions, report.plugins, report.foreign, report.external) == ((), (), (), ())


def test_report_of_a_file_that_says_nothing_is_plain(tmp_path: Path) -> None:
    report = report_onnx(write_identity(tmp_path / "i.onnx"))
    assert report.file.contract is None
    assert (report.parameters, report.mac_shares, report.stored) == (0, {}, {})
    assert not report.has_random_weights
    assert json.loads(json.dumps(report.to_dict()))["contract"] is None


@pytest.mark.parametrize("key", ["macs", "macs_per_pixel"])
def test_shares_are_those_of_the_summary(conv: Path, key: str) -> None:
    summary = {key: {"fp32": 250, "fp16": 750}, "parameters": 80}
    report = report_onnx(with_metadata(conv, summary=summary))
    assert report.mac_shares == {"fp32": 0.25, "fp16": 0.75}
    assert report.parameters == 80
    assert report.to_dict()["summary"] == summary


@pytest.mark.parametrize("summary", [{"macs_per_pixel": 5}, {"macs_per_pixel": {"fp32": "many"}}, {}, [1]])
def test_summary_of_another_form_gives_no_shares(conv: Path, summary: object) -> None:
    assert report_onnx(with_metadata(conv, summary=summary)).mac_shares == {}


@pytest.mark.parametrize(
    ("weights", "is_random"), [("random:0", True), ("initial", True), ("e333d4", False), (None, False)]
)
def test_random_weights_are_told_by_the_provenance(conv: Path, weights: str | None, is_random: bool) -> None:
    assert report_onnx(with_metadata(conv, provenance={"weights": weights})).has_random_weights == is_random


def test_metadata_keys_are_those_of_artifacts() -> None:
    assert (PROVENANCE_KEY, SUMMARY_KEY) == ("deblurrt.provenance", "deblurrt.summary")


@pytest.mark.parametrize("body", [True, False])
def test_plugins_are_needed_where_bodies_lack(tmp_path: Path, body: bool) -> None:
    report = report_onnx(write_plugin(tmp_path / "p.onnx", body=body))
    assert report.plugins == (Plugin("OtherPool", 2, body),)
    assert report.needs_plugins == (not body)
    assert report.functions == ((Function("deblurrt::OtherPool", {"Identity": 2}),) if body else ())
    assert report.foreign == ()


def test_operators_of_inner_graphs_and_their_constants_are_counted(tmp_path: Path) -> None:
    report = report_onnx(write_plugin(tmp_path / "p.onnx"))
    assert report.operators == {"Add": 1, "Constant": 2, "If": 1, "deblurrt::OtherPool": 2}
    assert report.stored == {"bool": 1, "float32": 2}
    assert report.parameters == 2


@pytest.mark.parametrize(("body", "foreign"), [(True, ()), (False, ("com.microsoft::Gelu",))])
def test_operators_of_other_runtimes_are_foreign(tmp_path: Path, body: bool, foreign: tuple[str, ...]) -> None:
    report = report_onnx(write_plugin(tmp_path / "p.onnx", "Gelu", "com.microsoft", body))
    assert (report.foreign, report.plugins, report.needs_plugins) == (foreign, (), False)


def test_external_data_is_hashed_wherever_the_command_runs(tmp_path: Path) -> None:
    path = write_external(tmp_path / "e.onnx")
    data = (tmp_path / "weights.bin").read_bytes()
    report = report_onnx(path)
    assert report.external == (ExternalData("weights.bin", len(data), hashlib.sha256(data).hexdigest()),)
    assert report.stored == {"float32": 81}
    report.check()


def test_missing_external_data_is_noted_then_refused(tmp_path: Path) -> None:
    path = write_external(tmp_path / "e.onnx")
    (tmp_path / "weights.bin").unlink()
    report = report_onnx(path)
    assert report.file.contract == CONTRACT
    with pytest.raises(ModelFileError, match=r"weights of e\.onnx lie in files .* 'weights\.bin' is missing; copy"):
        report.check()


def test_external_data_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_external(tmp_path / "e.onnx")
    (tmp_path / "weights.bin").write_bytes(b"1234")
    with pytest.raises(ModelFileError, match=r"'weights\.bin' has 4 bytes, at least 324 are needed"):
        report_onnx(path).check()


@pytest.mark.parametrize("is_right", [True, False])
def test_checksum_of_external_data_is_verified(tmp_path: Path, is_right: bool) -> None:
    path = write_external(tmp_path / "e.onnx")
    sha1 = hashlib.sha1((tmp_path / "weights.bin").read_bytes()).hexdigest()
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data.add(key="checksum", value=sha1 if is_right else "0" * 40)
    path.write_bytes(model.SerializeToString())
    problem = report_onnx(path).external[0].problem
    assert problem == (None if is_right else f"has SHA-1 {sha1}, the model expects {'0' * 40}")


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname"])
def test_external_data_outside_the_folder_is_not_read(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(400))
    (tmp_path / "model").mkdir()
    path = write_external(tmp_path / "model" / "e.onnx")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    path.write_bytes(model.SerializeToString())
    assert report_onnx(path).external == (ExternalData(location, problem="lies outside the model's folder"),)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no model file at .*none\.onnx"):
        report_onnx(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"", b"hello, this is text\n", b"\x08\x0a"], ids=["empty", "text", "no graph"])
def test_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"m\.onnx is not an ONNX model \(.+\); export it again"):
        report_onnx(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_file_is_refused(conv: Path, share: float) -> None:
    data = conv.read_bytes()
    conv.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelFileError, match=r"conv\.onnx is not an ONNX model"):
        report_onnx(conv)


def test_broken_graph_is_refused(conv: Path) -> None:
    model = onnx.load(conv)
    model.graph.node[0].input[0] = "nothing"
    onnx.save(model, conv)
    with pytest.raises(ModelFileError, match=r"conv\.onnx is not an ONNX model"):
        report_onnx(conv)


def test_impossible_contract_is_refused(conv: Path) -> None:
    model = onnx.load(conv)
    model.metadata_props[0].value = CONTRACT.to_json().replace('"scale": 1', '"scale": 3')
    onnx.save(model, conv)
    with pytest.raises(ModelFileError, match=r"conv\.onnx: scale is 3, expected one of 1, 4"):
        report_onnx(conv)


def test_report_needs_onnx_alone(conv: Path) -> None:
    code = """
import sys
from pathlib import Path
sys.modules.update(dict.fromkeys(["torch", "onnxruntime", "onnxscript", "openvino", "av", "tensorrt"]))
from deblurrt.export.onnx_report import report_onnx
print(report_onnx(Path(sys.argv[1])).parameters)
"""
    done = subprocess.run([sys.executable, "-c", code, conv], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("81", "")
