"""What was seen of a network's tensors, as a file of its own that later runs reuse."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..core.contract import FrameContract
from ..core.errors import InputError
from ..core.outputs import write_whole
from ..core.tensors import Array
from .histograms import Histogram

#: of the file's form
VERSION = 2


@dataclass(frozen=True, slots=True)
class StatisticsKey:
    """What statistics are of; others are of no use.

    Attributes:
        model_sha256: Hash of graph, weights and contract.
        frames_sha256: Hash of names and pixels.
        names: Of the frames.
        seed: Of crops.
        crop_px: Their side.
        test_split: The split of the frames where it is one for validation or tests.
    """

    model_sha256: str
    frames_sha256: str
    names: tuple[str, ...]
    seed: int
    crop_px: int
    test_split: str | None = None


@dataclass(slots=True)
class Statistics:
    """Histograms of tensors.

    Attributes:
        key: What they are of.
        histograms: By name of the tensor, of the network as it is.
        frames: How many frames were seen.
        factors: What channels are divided by where that lowers the error, by name of the tensor; None: not decided.
        equalised: Histograms of the tensors that factors change, with channels divided.
    """

    key: StatisticsKey
    histograms: dict[str, Histogram]
    frames: int
    factors: dict[str, Array] | None = None
    equalised: dict[str, Histogram] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether every frame was seen."""
        return self.frames == len(self.key.names)


def network_sha256(model: Any, contract: FrameContract) -> str:
    """Hash nodes and weights of ``onnx.ModelProto`` and its contract; other metadata are left out."""
    bare = type(model)()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    bare.producer_name = bare.producer_version = bare.doc_string = ""
    digest = hashlib.sha256(bare.SerializeToString(deterministic=True))
    digest.update(contract.to_json().encode())
    return digest.hexdigest()


def save_statistics(statistics: Statistics, path: Path) -> None:
    """Write statistics; the same ones give the same bytes.

    Raises:
        OutputError: The file cannot be written.
    """
    factors = statistics.factors
    parts = {"tensors": statistics.histograms, "equalised": statistics.equalised}
    header = {
        "version": VERSION,
        **asdict(statistics.key),
        "frames": statistics.frames,
        "factors": factors and {name: by.astype(float).tolist() for name, by in factors.items()},
        **{part: {name: _ends(seen) for name, seen in histograms.items()} for part, histograms in parts.items()},
    }
    arrays: dict[str, Array] = {"header": np.frombuffer(json.dumps(header, sort_keys=True).encode(), np.uint8)}
    for part, histograms in parts.items():
        for index, name in enumerate(sorted(histograms)):
            seen = histograms[name]
            arrays |= {
                f"{part}_counts{index}": seen.counts,
                f"{part}_sums{index}": seen.channel_sums,
                f"{part}_peaks{index}": seen.channel_peaks,
            }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_whole(path, buffer.getvalue())


def _ends(seen: Histogram) -> dict[str, Any]:
    """What the header says of a histogram."""
    return {"exponent": seen.exponent, "least": seen.least, "most": seen.most, "frames": seen.frames}


def load_statistics(path: Path) -> Statistics:
    """Read statistics.

    Raises:
        InputError: The file is missing, damaged, or of another form.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            header = json.loads(bytes(arrays["header"]))
            if header["version"] != VERSION:
                raise InputError(f"{path} has form {header['version']}, this deblurrt reads {VERSION}; calibrate again")
            histograms, equalised = (_histograms(arrays, header, part) for part in ("tensors", "equalised"))
        told = {entry.name: header[entry.name] for entry in fields(StatisticsKey)}
        factors = header["factors"]
        factors = factors and {name: np.array(by, np.float32) for name, by in factors.items()}
        key = StatisticsKey(**told | {"names": tuple(told["names"])})
        return Statistics(key, histograms, header["frames"], factors, equalised)
    except InputError:
        raise
    except Exception as error:  # archives, their compression and their arrays have many errors without one base
        raise InputError(f"{path} holds no statistics of a calibration ({error}); calibrate again") from error


def _histograms(arrays: Mapping[str, Array], header: Mapping[str, Any], part: str) -> dict[str, Histogram]:
    found = {}
    for index, name in enumerate(sorted(header[part])):
        told = header[part][name]
        counts, sums, peaks = (arrays[f"{part}_{what}{index}"] for what in ("counts", "sums", "peaks"))
        found[name] = Histogram(counts, told["exponent"], told["least"], told["most"], sums, peaks, told["frames"])
    return found


def check_key(found: StatisticsKey, wanted: StatisticsKey, path: Path) -> None:
    """Refuse statistics of something else.

    Raises:
        InputError: Says what differs.
    """
    for name, what in (
        ("model_sha256", "another network"),
        ("frames_sha256", "other frames"),
        ("names", "other frames"),
        ("seed", "another --seed"),
        ("crop_px", "crops of another size"),
    ):
        if getattr(found, name) != getattr(wanted, name):
            raise InputError(f"{path} holds statistics of {what}; name another file with --statistics, or remove it")
