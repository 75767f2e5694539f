from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from deblurrt.core.contract import FrameContract
from deblurrt.core.errors import OutputError
from deblurrt.export.identity_graph import onnx_from_identity
from deblurrt.runtime.backend import BackendConfig
from deblurrt.runtime.session import SessionConfig, open_session
from deblurrt.runtime.shipped_models import find_model


def test_shipped_identity_is_what_is_written_here(tmp_path: Path) -> None:
    written = onnx_from_identity(tmp_path / "identity.onnx")
    assert onnx.load(written.path) == onnx.load(find_model("identity"))


def test_contract_asks_nothing_of_frames(tmp_path: Path) -> None:
    assert onnx_from_identity(tmp_path / "identity.onnx").contract == FrameContract(halo_px=0, pad="none")


def test_picture_comes_back_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    path = onnx_from_identity(tmp_path / "identity.onnx").path
    with open_session(path, SessionConfig(backend="onnxruntime", options=BackendConfig(threads=1))) as session:
        np.testing.assert_array_equal(session.restore(pixels), pixels)


def test_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "identity.onnx"
    onnx_from_identity(path)
    with pytest.raises(OutputError, match="exists already"):
        onnx_from_identity(path)
    assert onnx_from_identity(path, force=True).path == path
