from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deblurrt.core.artifacts import open_onnx
from deblurrt.core.errors import BackendError, MissingExtraError
from deblurrt.runtime.backend import BackendConfig, Precision
from deblurrt.runtime.openvino_backend import OpenVinoBackend
from deblurrt.runtime.shipped_models import find_model
from tests.tiny_graphs import write_identity

openvino = pytest.importorskip("openvino", reason="needs the extra 'cpu'")

IDENTITY = open_onnx(find_model("identity"))


@pytest.mark.parametrize(("precision", "arithmetic"), [("auto", "fp32"), ("fp32", "fp32"), ("bf16", "bf16")])
def test_precision_is_always_said_to_the_library(
    monkeypatch: pytest.MonkeyPatch, precision: Precision, arithmetic: str
) -> None:
    monkeypatch.setattr(OpenVinoBackend, "_has_bf16", lambda self: True)
    backend = OpenVinoBackend(IDENTITY, BackendConfig(precision, 1))
    version = openvino.__version__.partition("-")[0]
    assert backend.description == f"OpenVINO {version} cpu {arithmetic}, 1 threads"
    assert backend._options["INFERENCE_PRECISION_HINT"] == arithmetic.replace("fp32", "f32")
    backend.close()


def test_bf16_is_refused_on_a_processor_that_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenVinoBackend, "_has_bf16", lambda self: False)
    with pytest.raises(BackendError, match="does not compute in bf16; use --precision fp32"):
        OpenVinoBackend(IDENTITY, BackendConfig("bf16"))


def test_file_gone_since_it_was_opened_is_a_backend_error(tmp_path: Path) -> None:
    onnx_file = open_onnx(write_identity(tmp_path / "gone.onnx"))
    onnx_file.path.unlink()
    with pytest.raises(BackendError, match=r"OpenVINO cannot read gone\.onnx"):
        OpenVinoBackend(onnx_file, BackendConfig(threads=1))


def test_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError) as caught:
        OpenVinoBackend(IDENTITY, BackendConfig())
    assert str(caught.value) == (
        "openvino is needed to run a model with OpenVINO and is not installed; install it: pip install 'deblurrt[cpu]'"
    )
