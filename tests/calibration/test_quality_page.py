"""The page of a quantisation: whole, offline, and with the frames that lost most."""

from __future__ import annotations

import errno
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from deblurrt.calibration import FrameChoice, Quantization, QuantizeConfig, choose_frames, quality_page
from deblurrt.calibration.quality_page import AMPLIFIED, write_quality_page
from deblurrt.core.errors import OutputError
from deblurrt.core.pictures import read_picture
from tests.calibration.small_networks import CONTRACT, residual, write_pairs


class Reader(HTMLParser):
    """What a browser would see: text of cells by table, and everything it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self._is_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._is_cell = True
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._is_cell = self._is_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._is_cell:
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Quantization:
    folder = write_pairs(tmp_path_factory.mktemp("data") / "pairs <one>", 15)
    frames = choose_frames(FrameChoice((folder,), held_out=5), CONTRACT)
    work = Quantization(residual(), "small.onnx", CONTRACT, frames, QuantizeConfig("openvino", psnr_budget_db=20.0))
    work.run()
    return work


@pytest.fixture(scope="module")
def folder(work: Quantization, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report") / "page"
    write_quality_page(work.report(), work, place, "small & <fine>")
    return place


@pytest.fixture(scope="module")
def page(folder: Path) -> Reader:
    return Reader((folder / "index.html").read_text())


def test_page_loads_nothing_but_pictures_beside_it(folder: Path, page: Reader) -> None:
    assert len(page.loaded) == 12
    assert all((folder / name).is_file() for name in page.loaded)
    assert not {"script", "link", "iframe", "form"} & set(page.tags)
    text = (folder / "index.html").read_text()
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_names_are_shown_as_they_are(folder: Path, page: Reader) -> None:
    assert "small & <fine> in int8" in page.text
    assert "pairs <one>/" in page.text
    assert "<one>" not in (folder / "index.html").read_text()


def test_page_has_every_frame_and_the_mean(work: Quantization, page: Reader) -> None:
    quality = work.report().quality
    assert quality is not None
    table = page.tables[0]
    assert [row[0] for row in table[1:]] == [*(frame.name for frame in quality.frames), "mean"]
    for row, frame in zip(table[1:], quality.frames, strict=False):
        assert row[1] == f"{frame.lost_db:.3f}"
        assert row[2] == f"{frame.psnr_float_db:.3f}"
    assert table[-1][1] == f"{quality.lost_db:.3f}"
    assert f"{quality.lost_db:.3f} dB lost on 5 held-out frames, against sharp pictures" in page.text


def test_page_marks_the_set_that_was_taken(work: Quantization, page: Reader) -> None:
    table = page.tables[1]
    assert table[0][-1] == "taken"
    assert [row[-1] for row in table[1:]] == ["yes"]
    assert table[1][1] == f"{work.report().share:.1%}"


def test_page_has_every_decision(work: Quantization, page: Reader) -> None:
    table = page.tables[-1]
    assert [row[0] for row in table[1:]] == [site.name for site in work.report().sites]
    place = table[0].index("computes in")
    assert [row[place] for row in table[1:]] == ["int8"] * 5 + ["float"]
    assert table[-1][-1] == "the global skip: the picture itself passes here"


def test_columns_nobody_fills_are_left_out(work: Quantization, tmp_path: Path) -> None:
    assert all(site.module == "" for site in work.report().sites)
    write_quality_page(work.report(), work, tmp_path / "page", "/somewhere/small.onnx")
    page = Reader((tmp_path / "page" / "index.html").read_text())
    assert "module" not in page.tables[-1][0]
    assert "/somewhere" not in page.text


def test_long_names_may_break(work: Quantization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality_page, "LONG_NAME", len("conv1") - 1)
    write_quality_page(work.report(), work, tmp_path / "page", "small")
    text = (tmp_path / "page" / "index.html").read_text()
    assert '<td class="long">conv1</td>' in text
    assert "<td>head</td>" in text


def test_page_has_the_frames_and_their_hash(work: Quantization, page: Reader) -> None:
    key = work.report().key
    assert key.frames_sha256 in page.text
    assert all(name in page.text for name in key.names)


def test_worst_frames_are_those_that_lost_most(work: Quantization, page: Reader) -> None:
    quality = work.report().quality
    assert quality is not None
    losses = sorted((frame.lost_db for frame in quality.frames), reverse=True)
    by_name = {frame.name: frame.lost_db for frame in quality.frames}
    shown = work.worst_frames(3)
    assert [by_name[frame.name] for frame in shown] == losses[:3]
    assert len(set(losses)) == 5
    places = [page.text.index(f"{frame.name}: {by_name[frame.name]:.3f} dB lost") for frame in shown]
    assert places == sorted(places)


def test_pictures_are_input_float_quantised_and_the_amplified_difference(work: Quantization, folder: Path) -> None:
    for rank, frame in enumerate(work.worst_frames(3)):
        found = {what: read_picture(folder / f"frame{rank}_{what}.png") for what in ("input", "float", "quantized")}
        assert (found["input"] == frame.pixels).all()
        assert (found["float"] == frame.before).all()
        assert (found["quantized"] == frame.after).all()
        difference = np.abs(found["float"].astype(int) - found["quantized"]) * AMPLIFIED
        assert difference.any()
        assert (read_picture(folder / f"frame{rank}_difference.png") == np.minimum(difference, 255)).all()


def test_values_behind_the_page_are_those_of_the_report(work: Quantization, folder: Path) -> None:
    values = json.loads((folder / "report.json").read_text())
    assert values == {"model": "small & <fine>"} | json.loads(json.dumps(work.report().to_dict()))


def test_full_disk_is_said_and_leaves_no_half_of_a_file(
    work: Quantization, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="disk full"):
        write_quality_page(work.report(), work, tmp_path / "page", "small")
    assert list((tmp_path / "page").iterdir()) == []


def test_folder_that_cannot_be_made_is_said(work: Quantization, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_quality_page(work.report(), work, tmp_path / "missing" / "page", "small")
