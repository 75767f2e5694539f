"""The page of exports shows what was measured and names what was not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from deblurrt.profiling.zoo_exports import main
from deblurrt.profiling.zoo_exports_page import KINDS, page

ENGINE = {
    "seconds": 2.5,
    "bytes": 3 << 20,
    "activation_bytes": 5 << 20,
    "estimated_bytes": 4 << 20,
    "precision": {"fp16": 0.994, "unknown": 0.006},
    "version": "1.7.1",
}
FILE = {
    "network": "eacd",
    "nodes": 453,
    "parameters": 2007882,
    "bytes": 8 << 20,
    "fp16_bytes": 4 << 20,
    "seconds": 66.0,
    "max_abs": {"32x48": 2e-6},
    "openvino_max_abs": 4e-6,
    "fp16_psnr_db": 65.2,
    "fp16_kept": 6,
}


def test_figures_stand_in_their_tables_and_failures_below() -> None:
    engines: dict[str, Any] = dict.fromkeys(KINDS, ENGINE) | {"fp16 static": {"error": "no memory"}}
    text = page([FILE | {"engines": engines}, {"network": "fast", "engines": engines}], ["fast"])
    assert "| eacd | 2,007,882 | 453 | 8.0 | 4.0 | 66 | 2.0e-06 (32x48) | 4.0e-06 | 65.2 | 6 |" in text
    assert "| fast | fp16 dynamic | 2.5 | 3.0 | 5 | 4 | 99.4% |" in text
    assert "- eacd, fp16 static: no memory" in text
    assert "not measured" not in text


def test_what_was_not_measured_is_named(tmp_path: Path) -> None:
    (tmp_path / "eacd.json").write_text(json.dumps(FILE))
    done = CliRunner().invoke(main, ["--work", str(tmp_path), "--kept"])
    assert done.exit_code == 0
    files, engines = (line for line in done.output.splitlines() if " not measured: " in line)
    assert files.startswith("Files not measured: carlo_net, ")
    assert "eacd," not in files
    assert engines.startswith("Engines not measured: default, fast, carlo_net, ")
    assert "eacd," in engines
