"""Every layout is recognised, and a wrong root, split or track is explained."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.errors import DeblurrtError, SourceError, UsageError
from deblurrt.datasets import open_dataset
from deblurrt.datasets.layouts import layout_of

Put = Callable[..., None]

REDS_FORMS = ("{split}/{split}_{kind}", "{split}/{kind}", "{split}_{kind}")


def put_reds(root: Path, put: Put, form: str = REDS_FORMS[0], split: str = "val", frames: int = 2) -> None:
    for sequence in ("000", "001"):
        for number in range(frames):
            name = f"{sequence}/{number:08d}.png"
            for kind in ("blur", "sharp"):
                put(root / form.format(split=split, kind=kind) / name)
            put(root / form.format(split=split, kind="blur_bicubic") / "X4" / name, (4, 6))


def put_gopro(root: Path, put: Put) -> None:
    for kind in ("blur", "blur_gamma", "sharp"):
        put(root / "test" / "GOPR0384_11_00" / kind / "000001.png")
        put(root / "test" / "GOPR0384_11_05" / kind / "004001.png")
        put(root / "train" / "GOPR0372_07_00" / kind / "000047.png")


def put_hide(root: Path, put: Put) -> None:
    for place in ("train/1.png", "test/test-close-ups/2.png", "test/test-long-shot/3.png"):
        put(root / place)
        put(root / "GT" / Path(place).name)


def put_cifar(root: Path, suffix: str = ".bin") -> None:
    root.mkdir(parents=True, exist_ok=True)
    names = ["test_batch", *(f"data_batch_{number}" for number in range(1, 6))]
    for seed, name in enumerate(names):
        records = np.random.default_rng(seed).integers(0, 256, (2, 3073), dtype=np.uint8)
        (root / f"{name}{suffix}").write_bytes(records.tobytes())


def error_of(root: Path, track: str = "blur", split: str = "val") -> DeblurrtError:
    with pytest.raises(DeblurrtError) as caught:
        open_dataset(root, track, split)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("form", REDS_FORMS)
@pytest.mark.parametrize("split", ["train", "val"])
def test_reds_is_recognised_in_each_of_its_forms(tmp_path: Path, put: Put, form: str, split: str) -> None:
    put_reds(tmp_path, put, form, split)
    dataset = open_dataset(tmp_path, "blur", split)
    assert (dataset.layout, dataset.split, dataset.scale) == ("reds", split, 1)
    assert [(sequence.name, len(sequence)) for sequence in dataset] == [("000", 2), ("001", 2)]
    blurred, _ = dataset.sequences[1].pairs[1].read()
    assert dataset.sequences[1].pairs[1].name == "001/00000001"
    assert blurred.shape == (16, 24, 3)


@pytest.mark.parametrize("form", REDS_FORMS)
def test_small_frames_of_reds_lie_in_x4(tmp_path: Path, put: Put, form: str) -> None:
    put_reds(tmp_path, put, form)
    dataset = open_dataset(tmp_path, "blur_bicubic_x4")
    blurred, sharp = dataset.sequences[0].pairs[0].read()
    assert (dataset.scale, blurred.shape, sharp.shape) == (4, (4, 6, 3), (16, 24, 3))
    assert not any("made" in note for note in dataset.notes)


def test_jpeg_frames_of_reds_are_paired_with_png_ones(tmp_path: Path, put: Put) -> None:
    put_reds(tmp_path, put)
    for sequence in ("000", "001"):
        for number in range(2):
            put(tmp_path / "val" / "val_blur_jpeg" / sequence / f"{number:08d}.jpg")
    dataset = open_dataset(tmp_path, "blur_jpeg")
    assert dataset.sequences[0].pairs[0].blurred.suffix == ".jpg"
    assert dataset.sequences[0].pairs[0].read()[0].shape == (16, 24, 3)
    assert not any("made" in note for note in dataset.notes)


def test_part_of_reds_is_noted(tmp_path: Path, put: Put) -> None:
    put_reds(tmp_path, put)
    assert open_dataset(tmp_path).notes == (
        "2 sequences of the 30 that val of REDS has",
        "2 sequences have other than 100 frames, 000 the first",
    )


def test_test_split_of_reds_has_no_truth(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "test" / "test_blur" / "000" / "00000000.png")
    error = error_of(tmp_path, split="test")
    assert isinstance(error, UsageError)
    assert "REDS publishes no sharp pictures of its test split (found test/test_blur)" in str(error)
    assert "--split val" in str(error)


def test_missing_sharp_folder_of_reds_is_named(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "val" / "val_blur" / "000" / "00000000.png")
    assert "val/val_sharp is missing; found val/val_blur" in str(error_of(tmp_path))


def test_missing_blur_folder_of_reds_is_named(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "val" / "val_sharp" / "000" / "00000000.png")
    message = str(error_of(tmp_path, "blur_jpeg"))
    assert "val/val_blur_jpeg (or val/val_blur to make it from) is missing; found val_sharp/ in val" in message


def test_missing_sharp_sequence_of_reds_is_named(tmp_path: Path, put: Put) -> None:
    put_reds(tmp_path, put)
    put(tmp_path / "val" / "val_blur" / "002" / "00000000.png")
    assert re.search(r"val_blur/002 has no partner: the folder .*val_sharp/002 is missing", str(error_of(tmp_path)))


def test_missing_split_of_reds_is_named(tmp_path: Path, put: Put) -> None:
    put_reds(tmp_path, put)
    assert "has no split 'train'; found val/" in str(error_of(tmp_path, split="train"))


@pytest.mark.parametrize("below", ["val", "val/val_blur", "val/val_blur/000"])
def test_root_too_low_is_told_the_right_one(tmp_path: Path, put: Put, below: str) -> None:
    put_reds(tmp_path, put)
    put_reds(tmp_path, put, split="train")
    assert str(error_of(tmp_path / below, split="train")).endswith(f"is in {tmp_path}, give --data {tmp_path}")


@pytest.mark.parametrize("above", ["data", "data/sets"])
def test_root_too_high_is_told_the_right_one(tmp_path: Path, put: Put, above: str) -> None:
    root = tmp_path / "data" / "sets" / "REDS"
    put_reds(root, put)
    assert str(error_of(tmp_path / above)).endswith(f"the layout 'reds' is in {root}, give --data {root}")


def test_folder_of_blurred_pictures_is_told_its_parent(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "walk" / "blur" / "1.png")
    put(tmp_path / "walk" / "sharp" / "1.png")
    assert str(error_of(tmp_path / "walk" / "blur")).endswith(f"give --data {tmp_path / 'walk'}")


def test_gopro_has_sequences_of_blur_and_sharp(tmp_path: Path, put: Put) -> None:
    put_gopro(tmp_path, put)
    dataset = open_dataset(tmp_path, split="test")
    assert (dataset.layout, dataset.split, dataset.notes) == ("gopro", "test", ())
    assert [pair.name for sequence in dataset for pair in sequence] == [
        "GOPR0384_11_00/000001",
        "GOPR0384_11_05/004001",
    ]


def test_split_gopro_does_not_have_is_refused(tmp_path: Path, put: Put) -> None:
    put_gopro(tmp_path, put)
    error = error_of(tmp_path, split="val")
    assert isinstance(error, UsageError)
    assert "has the splits train, test, not 'val'; take --split test" in str(error)


def test_missing_split_of_gopro_is_named(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "train" / "GOPR0372_07_00" / "blur" / "000047.png")
    assert "lacks the folder test; found train/" in str(error_of(tmp_path, split="test"))


def test_hide_pairs_with_one_folder_of_truths(tmp_path: Path, put: Put) -> None:
    put_hide(tmp_path, put)
    dataset = open_dataset(tmp_path, split="test")
    assert dataset.layout == "hide"
    assert [pair.name for sequence in dataset for pair in sequence] == ["test-close-ups/2", "test-long-shot/3"]
    assert dataset.sequences[0].pairs[0].sharp == tmp_path / "GT" / "2.png"
    assert not dataset.sequences[0].is_consecutive
    assert [pair.name for sequence in open_dataset(tmp_path, split="train") for pair in sequence] == ["train/1"]


def test_hide_picture_without_truth_is_named(tmp_path: Path, put: Put) -> None:
    put_hide(tmp_path, put)
    (tmp_path / "GT" / "2.png").unlink()
    assert "test-close-ups/2.png has no partner" in str(error_of(tmp_path, split="test"))


def test_made_gaussian_of_hide_takes_the_truths_of_its_split(tmp_path: Path, put: Put) -> None:
    put_hide(tmp_path, put)
    dataset = open_dataset(tmp_path, "gaussian", "train")
    assert [(pair.name, pair.blurred) for sequence in dataset for pair in sequence] == [
        ("train/1", tmp_path / "GT" / "1.png")
    ]


@pytest.mark.parametrize(("split", "sequences"), [("train", 5), ("test", 1)])
def test_cifar_has_a_sequence_per_file(tmp_path: Path, split: str, sequences: int) -> None:
    put_cifar(tmp_path)
    dataset = open_dataset(tmp_path, "gaussian", split)
    assert (dataset.layout, len(dataset.sequences), len(dataset)) == ("cifar10", sequences, 2 * sequences)
    blurred, sharp = dataset.sequences[0].pairs[1].read()
    assert blurred.shape == sharp.shape == (32, 32, 3)
    assert not dataset.sequences[0].is_consecutive


def test_missing_file_of_cifar_is_named(tmp_path: Path) -> None:
    put_cifar(tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    assert "lacks data_batch_3 of its train split" in str(error_of(tmp_path, "gaussian", "train"))


@pytest.mark.parametrize("track", ["blur", "blur_jpeg", "blur_bicubic_x4"])
def test_cifar_has_no_blurred_pictures(tmp_path: Path, track: str) -> None:
    put_cifar(tmp_path)
    error = error_of(tmp_path, track, "test")
    assert isinstance(error, UsageError)
    assert "take --track gaussian" in str(error)


def test_pairs_have_no_splits(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "seq9" / "blur" / "1.png")
    put(tmp_path / "seq9" / "sharp" / "1.png")
    put(tmp_path / "street" / "blur.png")
    put(tmp_path / "street" / "sharp.png")
    put(tmp_path / "stills" / "1.png")
    dataset = open_dataset(tmp_path, split="anything")
    assert (dataset.layout, dataset.split) == ("pairs", "")
    assert [pair.name for sequence in dataset for pair in sequence] == ["seq9/1", "street"]


def test_sharp_pictures_make_a_sequence_per_folder(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "clip" / "00000000.png")
    put(tmp_path / "clip" / "00000001.png")
    put(tmp_path / "stills" / "tree.png")
    dataset = open_dataset(tmp_path, "gaussian")
    assert dataset.layout == "sharp"
    assert [(sequence.name, len(sequence), sequence.is_consecutive) for sequence in dataset] == [
        ("clip", 2, True),
        ("stills", 1, False),
    ]
    assert [sequence.name for sequence in open_dataset(tmp_path / "stills", "gaussian")] == ["stills"]


def test_sharp_pictures_have_no_blurred_partners(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "tree.png")
    error = error_of(tmp_path)
    assert isinstance(error, UsageError)
    assert "expected blur/ beside sharp/" in str(error)


def test_folder_of_something_else_says_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    error = error_of(tmp_path)
    assert isinstance(error, SourceError)
    assert "expected blur/ beside sharp/" in str(error)
    assert "found notes.txt" in str(error)


def test_missing_root_is_refused(tmp_path: Path) -> None:
    assert "no data folder at" in str(error_of(tmp_path / "absent"))


def test_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert f"{tmp_path} cannot be read (Permission denied)" in str(error_of(tmp_path))


def test_empty_folder_has_no_layout(tmp_path: Path) -> None:
    assert layout_of(tmp_path) is None
