"""What a verbose build log says: the layers of the engine, their types, and the memory it needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LAYER = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], Constants: \[(?P<constants>.*?)\], "
    r"Outputs: \[(?P<outputs>.*?)\], TacticName: "
)
TENSOR = re.compile(r"\{ Name: (?P<name>[^,]*), Dimensions: \[(?P<dims>[-\d,]*)\].*?Datatype: (?P<type>\w+)")
#: what the compiler appends to the name of an ONNX node
COMPILERS_SUFFIX = re.compile(r"_myl\d+_\d+$")
MEMORY = re.compile(r"Total (?P<kind>Activation|Weights) Memory: (?P<bytes>\d+) bytes")
NODE = re.compile(r"Parsing node: (?P<node>.*) \[(?P<operator>\w+)\]")
#: layers that only order others in time
WITHOUT_WORK = frozenset({"signal", "wait", "shape_call"})


@dataclass(frozen=True, slots=True)
class LayerTensor:
    """What a layer takes or gives.

    Attributes:
        name: The builder's.
        dtype: As the builder writes it: ``Half``, ``Float``, ``Int8``, ``BFloat16``.
        shape: -1 where it is free.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EngineLayer:
    """One kernel of an engine.

    Attributes:
        name: Of the ONNX node it comes from, or the compiler's where several are fused.
        kind: ``correlation`` is a convolution, ``kgen`` a generated kernel.
        inputs: Values that are not constant.
        constants: Weights.
        outputs: What it gives.
    """

    name: str
    kind: str
    inputs: tuple[LayerTensor, ...]
    constants: tuple[LayerTensor, ...]
    outputs: tuple[LayerTensor, ...]


@dataclass(frozen=True, slots=True)
class BuildLog:
    """What was found in a log.

    Attributes:
        layers: Those that do work, in order.
        activation_bytes: Memory for values at the largest size; None where the log does not say.
        weight_bytes: Memory for weights; likewise.
        last_node: Name and operator of the last ONNX node the parser began; None: none.
    """

    layers: tuple[EngineLayer, ...]
    activation_bytes: int | None
    weight_bytes: int | None
    last_node: tuple[str, str] | None


def read_log(lines: Iterable[str]) -> BuildLog:
    """Read a log as the builder writes it with verbose messages and detailed profiling.

    Lines it does not know are passed over, so a log of another version gives less, never an error.
    """
    layers: list[EngineLayer] = []
    memory: dict[str, int] = {}
    last = None
    for line in lines:
        if (found := NODE.search(line)) is not None:
            last = (found["node"], found["operator"])
        elif (found := MEMORY.search(line)) is not None:
            memory[found["kind"]] = int(found["bytes"])
        elif (found := LAYER.search(line)) is not None and found["kind"] not in WITHOUT_WORK:
            sides = (tuple(_tensors(found[side])) for side in ("inputs", "constants", "outputs"))
            layers.append(EngineLayer(COMPILERS_SUFFIX.sub("", found["name"]), found["kind"], *sides))
    return BuildLog(tuple(layers), memory.get("Activation"), memory.get("Weights"), last)


def _tensors(text: str) -> Iterator[LayerTensor]:
    for found in TENSOR.finditer(text):
        shape = tuple(int(side) for side in found["dims"].split(",") if side)
        yield LayerTensor(found["name"], found["type"], shape)
