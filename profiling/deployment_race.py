"""The deployment graph, bytes in and out, against the float graph with NumPy before and behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.artifacts import OnnxFile, open_onnx
from ..core.contract import FrameContract
from ..core.tensors import Array
from ..export.export_config import ExportConfig
from ..export.parity import Window, sample_windows
from ..export.student_graph import onnx_from_student, student_contract
from ..models.zoo_facts import FACTS, NetworkFacts
from ..runtime.backend import open_backend
from ..runtime.session import finish, prepare
from ..runtime.shipped_models import find_model
from ..training.weights import load_weights
from .network_race import RUNTIMES, converted, exported, made_network
from .races import Contestant, RacePlan, RaceResult, opened_late, race
from .zoo_sizes import Size, facts_of, frame_size
from .zoo_variants import Variant

SHIPPED_NAME = "default"
#: cheap ones, so that what is around them shows: one of three frames that is filled up, one of any size
ZOO_VARIANTS = (Variant("kaist_net", {"in_frames": 3}), Variant("eacd"))
#: height and width not to exceed, pixels
LARGEST = (360, 640)
AROUND, INSIDE = "NumPy around the float graph", "deployment graph"


@dataclass(frozen=True, slots=True)
class DeploymentResult:
    """One line of the table.

    Attributes:
        label: Of the network.
        runtime: Its name in the tables.
        size: Height and width of the frames, pixels.
        race: Both forms, bytes to bytes.
    """

    label: str
    runtime: str
    size: Size
    race: RaceResult

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"network": self.label, "runtime": self.runtime, "size": list(self.size), **self.race.to_dict()}


@dataclass(frozen=True, slots=True)
class Forms:
    """A network in both forms.

    Attributes:
        label: Of the network.
        facts: What it costs.
        contract: Of the float graph.
        bare: The float graph, by runtime.
        deployed: The deployment graph, by runtime.
    """

    label: str
    facts: NetworkFacts
    contract: FrameContract
    bare: dict[str, OnnxFile]
    deployed: dict[str, OnnxFile]


def deployment_results(plan: RacePlan, variants: tuple[Variant, ...] = ZOO_VARIANTS) -> list[DeploymentResult]:
    """Race both forms of the shipped model and of some networks of the zoo.

    Args:
        plan: How to measure.
        variants: Networks of the zoo.

    Raises:
        QualityError: The exporter found a stage that changes the result.
        MissingExtraError: torch, onnxscript, onnxslim or safetensors is not installed.
        BackendError: A runtime does not load the float graph.
    """
    results = _raced(shipped_forms(plan.folder), plan)
    for variant in variants:
        results += _raced(zoo_forms(variant, plan), plan)
    return results


def shipped_forms(folder: Path) -> Forms:
    """The shipped model, and its float graph written into ``folder`` from the same weights."""
    deployed = find_model(SHIPPED_NAME)
    weights, recipe, _ = load_weights(deployed.with_suffix(".safetensors"))
    bare = onnx_from_student(recipe.model, weights, folder / "shipped_float.onnx", {}, io="float", force=True)
    facts = next(facts for facts in FACTS if facts.name == SHIPPED_NAME)
    contract = student_contract(recipe.model, "float")
    opened = open_onnx(deployed)
    return Forms(SHIPPED_NAME, facts, contract, dict.fromkeys(RUNTIMES, bare), dict.fromkeys(RUNTIMES, opened))


def zoo_forms(variant: Variant, plan: RacePlan) -> Forms:
    """Export a network of the zoo in both forms into ``plan.folder``."""
    network = made_network(variant)
    bare = exported(network, variant.label, plan)
    plan.tell(f"{variant.label}: deployment graph")
    deployed = {
        runtime: converted(bare[runtime], ExportConfig(target=target), plan.folder)
        for runtime, target in RUNTIMES.items()
    }
    return Forms(variant.label, facts_of(variant), network.contract, bare, deployed)


def _raced(forms: Forms, plan: RacePlan) -> list[DeploymentResult]:
    size = frame_size(forms.facts, plan.seconds, LARGEST)
    (window,) = sample_windows(forms.contract.window, [size])
    results = []
    for runtime, backend in RUNTIMES.items():
        plan.tell(f"{forms.label} in {runtime}: {plan.rounds} rounds at {size[0]}x{size[1]}")
        contestants = {
            AROUND: opened_late(_opening(backend, forms.bare[runtime], forms.contract, window, plan)),
            INSIDE: opened_late(
                _opening(backend, forms.deployed[runtime], replace(forms.contract, io="uint8"), window, plan)
            ),
        }
        results.append(DeploymentResult(forms.label, runtime, size, race(contestants, plan.rounds)))
    return results


def _opening(
    backend: str, file: OnnxFile, contract: FrameContract, window: Window, plan: RacePlan
) -> Callable[[], Contestant]:
    """Frames to picture by what a session does: for a ``uint8`` graph next to nothing."""

    def open_contestant() -> Contestant:
        opened = open_backend(backend, file, plan.config)

        def restore() -> Array:
            restored = opened.run({"frames": prepare(list(window), contract)})["restored"]
            return finish(np.asarray(restored), contract, window[0].shape[:2])

        return restore

    return open_contestant
