"""One network in PyTorch against its export in ONNX Runtime and OpenVINO."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.artifacts import OnnxFile, load_whole, write_onnx
from ..export.export_config import ExportConfig, Target
from ..export.parity import sample_frames, sample_windows
from ..runtime.backend import open_backend
from .races import Contestant, RacePlan, RaceResult, opened_late, race, runs_of
from .zoo_sizes import facts_of, frame_size, input_size
from .zoo_variants import Variant

if TYPE_CHECKING:
    from ..core.tensors import Array
    from ..models.network import DeblurNetwork

EAGER, FOLDED = "PyTorch eager", "PyTorch eager, folded"
#: column of the table -> backend, which is also what is exported for
RUNTIMES: dict[str, Target] = {"ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}
#: the exporter's own comparison is on one small picture; the race compares at its size
EXPORT_CHECK = (32, 48)
#: training crop and window of local pools: published windows are larger than the pictures raced here
TLSC_SIZES = (16, 24)


@dataclass(frozen=True, slots=True)
class NetworkResult:
    """One line of the table.

    Attributes:
        label: Of the variant.
        size: Height and width of the input, pixels.
        race: PyTorch, perhaps folded, and the runtimes.
    """

    label: str
    size: tuple[int, int]
    race: RaceResult

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"network": self.label, "size": list(self.size), **self.race.to_dict()}


def network_result(variant: Variant, plan: RacePlan) -> NetworkResult:
    """Make the network with seeded weights, export it, and let all forms run in turn.

    Raises:
        QualityError: The exporter found a stage that changes the result.
        UsageError: The network cannot be traced.
        MissingExtraError: torch, onnxscript or onnxslim is not installed.
    """
    facts = facts_of(variant)
    size = input_size(facts, frame_size(facts, plan.seconds))
    network = made_network(variant)
    (frames,) = sample_frames(network.contract, [size])
    files = exported(network, variant.label, plan)
    contestants: dict[str, Contestant] = {EAGER: _in_torch(network, frames, plan)}
    if facts.folded_macs is not None:
        contestants[FOLDED] = _in_torch(_folded(network), frames, plan)
    for column, file in files.items():
        contestants[column] = opened_late(_opening(RUNTIMES[column], file, frames, plan))
    plan.tell(f"{variant.label}: {plan.rounds} rounds at {size[0]}x{size[1]}")
    result = NetworkResult(variant.label, size, race(contestants, plan.rounds))
    plan.tell(f"{variant.label}: {result.race.describe()}")
    # the largest network is 600 MB, and every contestant holds one
    del contestants, network
    gc.collect()
    return result


def made_network(variant: Variant) -> DeblurNetwork:
    """Make a variant with seeded weights; local pools have windows that fit into a small picture.

    Raises:
        MissingExtraError: torch is not installed.
    """
    network = replace(variant, tlsc=False).create()
    if not variant.tlsc:
        return network
    from ..models.tlsc import apply_tlsc

    return apply_tlsc(network, *TLSC_SIZES)


def exported(network: DeblurNetwork, label: str, plan: RacePlan) -> dict[str, OnnxFile]:
    """Export the float graph for every runtime.

    The second file is made from the first, as ``deblurrt export FILE.onnx --target openvino`` does; a network
    without operators of our own needs no second one.

    Returns:
        Files in ``plan.folder``, by column.

    Raises:
        QualityError: A stage changed the result.
        UsageError: The network cannot be traced.
        MissingExtraError: torch, onnxscript or onnxslim is not installed.
    """
    from ..export.onnx_export import OnnxExport

    plan.tell(f"{label}: exporting")
    windows = sample_windows(network.contract.window, [EXPORT_CHECK])
    config = ExportConfig(io="float", target="onnxruntime")
    first = write_onnx(OnnxExport(network, config, windows).run(), plan.folder / "onnxruntime.onnx", True)
    files = {}
    for column, target in RUNTIMES.items():
        is_same = target == "onnxruntime" or not first.summary["plugins"]
        files[column] = first if is_same else converted(first, replace(config, target=target), plan.folder)
    return files


def converted(file: OnnxFile, config: ExportConfig, folder: Path) -> OnnxFile:
    """Write an exported file anew for another target or other ends, into ``folder``.

    Raises:
        QualityError: A stage changed the result.
        MissingExtraError: onnxslim is not installed.
    """
    from ..export.onnx_conversion import OnnxConversion, contract_in

    model = load_whole(file)
    windows = sample_windows(contract_in(model, file.path.name).window, [EXPORT_CHECK])
    conversion = OnnxConversion(model, file.path.name, config, windows)
    return write_onnx(conversion.run(), folder / f"{config.target}_{config.io}.onnx", True)


def _opening(backend: str, file: OnnxFile, frames: Array, plan: RacePlan) -> Callable[[], Contestant]:
    return lambda: runs_of(open_backend(backend, file, plan.config), frames)


def _in_torch(network: DeblurNetwork, frames: Array, plan: RacePlan) -> Contestant:
    from ..models.torch_backend import TorchBackend

    return runs_of(TorchBackend(network, network.contract, plan.config), frames)


def _folded(network: DeblurNetwork) -> DeblurNetwork:
    from ..export.model_passes import fold_copies

    return fold_copies(network)
