"""What an ONNX file says of itself and what it needs; read with the package ``onnx`` alone, nothing is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from ..core.artifacts import OnnxFile, check_model, file_of, read_header, sha256_of, type_name
from ..core.errors import ModelFileError
from ..core.external_data import ExternalData, external_data
from ..plugins.plugin_op import DOMAIN

STANDARD_DOMAINS = ("", "ai.onnx")
#: stored values of these types are shapes, indices and switches, not weights
INDEX_TYPES = ("int64", "bool", "string")
#: entries of a summary that hold multiply-accumulates per precision
MACS_KEYS = ("macs", "macs_per_pixel")
#: more than any network computes for a frame
MOST_MACS = 1e24


@dataclass(frozen=True, slots=True)
class Function:
    """A body of standard operators for an operator of another domain.

    Attributes:
        name: With its domain, ``deblurrt::LocalAvgPool``.
        operators: Operator -> how often the body has it.
    """

    name: str
    operators: dict[str, int]


@dataclass(frozen=True, slots=True)
class Plugin:
    """An operator of the domain ``deblurrt`` that the file uses.

    Attributes:
        name: Type of its nodes, without the domain.
        nodes: How many there are.
        has_body: Whether the file has a body for it, so that it runs without the plugin.
    """

    name: str
    nodes: int
    has_body: bool


@dataclass(frozen=True, slots=True)
class OnnxReport:
    """Facts of an ONNX file.

    Attributes:
        file: Its inputs, outputs, metadata and contract.
        size_bytes: Of the file, without external data.
        sha256: Of the file.
        ir_version: Of the format.
        opsets: Domain (``ai.onnx`` for the standard one) -> version.
        operators: Operator -> nodes, inner graphs included; those of other domains with it,
            ``deblurrt::LocalAvgPool``.
        functions: Bodies in the file.
        stored: Type -> how many values the file stores of it.
        plugins: Operators of ours in it.
        foreign: Operators of other domains without a body; only their runtime has them.
        external: Files with weights.
    """

    file: OnnxFile
    size_bytes: int
    sha256: str
    ir_version: int
    opsets: dict[str, int]
    operators: dict[str, int]
    functions: tuple[Function, ...] = ()
    stored: dict[str, int] = field(default_factory=dict)
    plugins: tuple[Plugin, ...] = ()
    foreign: tuple[str, ...] = ()
    external: tuple[ExternalData, ...] = ()

    @property
    def parameters(self) -> int:
        """Weights, as the summary counts them; where there is none, stored values that are no indices."""
        counted = sum(count for kind, count in self.stored.items() if kind not in INDEX_TYPES)
        told = self.file.summary.get("parameters")
        return told if type(told) is int and told >= 0 else counted

    @property
    def mac_shares(self) -> dict[str, float]:
        """Precision -> share of the multiply-accumulates; empty where the summary does not say."""
        macs = next((self.file.summary[key] for key in MACS_KEYS if key in self.file.summary), None)
        if not isinstance(macs, dict) or not all(map(_is_count, macs.values())):
            return {}
        total = sum(macs.values())
        return {precision: count / total for precision, count in macs.items()} if total else {}

    @property
    def has_random_weights(self) -> bool:
        """Whether the provenance says that the weights were never trained."""
        weights = str(self.file.provenance.get("weights", ""))
        return weights == "initial" or weights.startswith("random")

    @property
    def needs_plugins(self) -> bool:
        """Whether an operator of ours has no body, so that the file runs with its plugin only."""
        return any(not plugin.has_body for plugin in self.plugins)

    def check(self) -> None:
        """Refuse a file whose external data is not whole.

        Raises:
            ModelFileError: With each file and what is wrong.
        """
        problems = [f"{data.location!r:.80} {data.problem}" for data in self.external if data.problem]
        if problems:
            raise ModelFileError(
                f"weights of {self.file.path.name} lie in files beside it, and {'; '.join(problems)}; "
                "copy them together, or export again"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        file = self.file
        return {
            "file": str(file.path),
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "ir_version": self.ir_version,
            "opsets": self.opsets,
            "contract": asdict(file.contract) if file.contract else None,
            "inputs": [asdict(spec) for spec in file.inputs],
            "outputs": [asdict(spec) for spec in file.outputs],
            "operators": self.operators,
            "functions": [asdict(function) for function in self.functions],
            "parameters": self.parameters,
            "stored": self.stored,
            "mac_shares": self.mac_shares,
            "plugins": [asdict(plugin) for plugin in self.plugins],
            "needs_plugins": self.needs_plugins,
            "foreign": list(self.foreign),
            "external": [asdict(data) for data in self.external],
            "provenance": file.provenance,
            "has_random_weights": self.has_random_weights,
            "summary": file.summary,
        }


def report_onnx(path: Path) -> OnnxReport:
    """Read the facts of an ONNX file; missing external data is noted, not raised.

    Raises:
        ModelFileError: The file is missing, damaged or no ONNX, or its contract holds an impossible value.
    """
    model = read_header(path)
    external = tuple(external_data(path.parent, _tensors(model)))
    if not any(data.problem for data in external):
        check_model(path)
    file = file_of(model, path)
    bodies = {_name(function.domain, function.name): function for function in model.functions}
    called = operator_counts(model)
    used = called + Counter(name for function in model.functions for name in _names(function.node))
    others = {name: count for name, count in used.items() if "::" in name}
    return OnnxReport(
        file,
        path.stat().st_size,
        sha256_of([path]),
        model.ir_version,
        {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        dict(sorted(called.items())),
        tuple(Function(name, dict(sorted(Counter(_names(body.node)).items()))) for name, body in bodies.items()),
        dict(sorted(_stored(model).items())),
        tuple(
            Plugin(name.partition("::")[2], count, name in bodies)
            for name, count in sorted(others.items())
            if name.startswith(f"{DOMAIN}::")
        ),
        tuple(sorted(name for name in others if not name.startswith(f"{DOMAIN}::") and name not in bodies)),
        external,
    )


def _is_count(value: object) -> bool:
    """Whether an edited file can mean it as a number of operations."""
    return type(value) in (int, float) and 0 <= cast(float, value) <= MOST_MACS


def operator_counts(model: Any) -> Counter[str]:
    """Count the nodes of ``onnx.ModelProto`` by operator, inner graphs included; ours are ``deblurrt::NAME``."""
    return Counter(_names(model.graph.node))


def _name(domain: str, operator: str) -> str:
    return operator if domain in STANDARD_DOMAINS else f"{domain}::{operator}"


def _nodes(nodes: Iterable[Any]) -> Iterator[Any]:
    """Yield nodes and those of their inner graphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def _names(nodes: Iterable[Any]) -> Iterator[str]:
    return (_name(node.domain, node.op_type) for node in _nodes(nodes))


def _tensors(model: Any) -> Iterator[Any]:
    """Yield stored tensors: of the graph, of inner graphs, and of ``Constant`` nodes."""
    yield from model.graph.initializer
    bodies = [node for function in model.functions for node in function.node]
    for node in _nodes([*model.graph.node, *bodies]):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            for graph in (attribute.g, *attribute.graphs):
                yield from graph.initializer


def _stored(model: Any) -> Counter[str]:
    counts: Counter[str] = Counter()
    for tensor in _tensors(model):
        size = 1
        for side in tensor.dims:
            size *= side
        counts[type_name(tensor.data_type)] += size
    return counts
