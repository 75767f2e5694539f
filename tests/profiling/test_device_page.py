"""The page of a device: figures where there are some, reasons where there are none."""

from __future__ import annotations

from deblurrt.profiling.device_page import HEAD, device_page

ROW = {
    "network": "default",
    "size": "720x1280",
    "export_s": 1.25,
    "engine": {
        "backend": "tensorrt",
        "tensorrt": "10.3.0",
        "build_seconds": 61.0,
        "plan_bytes": 3 << 20,
        "precision": {"fp16": 0.9, "fp32": 0.1},
        "activation_bytes": 40 << 20,
    },
    "fp16_psnr_db": 64.25,
    "gpu": {"median": 3.456},
    "missing": {"measure on the CPU": "no time"},
}


def cells(page: str, network: str) -> dict[str, str]:
    line = next(line for line in page.splitlines() if line.startswith(f"| {network} "))
    return dict(zip(HEAD, (cell.strip() for cell in line.strip("|").split("|")), strict=True))


def test_figures_and_reasons_stand_where_they_belong() -> None:
    page = device_page([("gpu", "Orin")], [ROW, {"network": "fast", "size": "1x1", "missing": {}}], "deblurrt x")
    assert "Written by `deblurrt x`." in page
    assert "| gpu | Orin |" in page
    assert cells(page, "default") == {
        "network": "default",
        "size": "720x1280",
        "export s": "1.2",
        "engine": "tensorrt 10.3.0",
        "build s": "61.0",
        "MiB": "3.0",
        "convolutions": "90.0% fp16, 10.0% fp32",
        "memory MiB": "40",
        "fp16 dB": "64.2",
        "GPU ms": "3.46",
        "CPU ms": "not measured",
    }
    assert set(cells(page, "fast").values()) == {"fast", "1x1", "no", "", "not measured"}
    assert page.rstrip().endswith("- default, measure on the CPU: no time")


def test_nothing_is_said_to_be_missing_where_nothing_is() -> None:
    assert "Not measured, and why" not in device_page([], [{**ROW, "missing": {}}], "x")
