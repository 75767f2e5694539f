"""The models that come with the package, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core.errors import ModelFileError

FOLDER = Path(__file__).parent / "shipped"


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """A model of the package.

    Attributes:
        file: Its file in ``runtime/shipped/``.
        purpose: One line for help texts.
    """

    file: str
    purpose: str


SHIPPED = {
    "default": ShippedModel("default.onnx", "the better of the two small networks"),
    "fast": ShippedModel("fast.onnx", "the quicker of the two small networks"),
    "identity": ShippedModel("identity.onnx", "gives every frame back unchanged"),
}
#: other spellings that mean a shipped model
ALIASES = {"student_s": "default", "student_xs": "fast"}


def find_model(model: str | Path) -> Path:
    """Find the file of a shipped name or a path.

    Raises:
        ModelFileError: There is neither.
    """
    name = ALIASES.get(str(model), str(model))
    if name in SHIPPED:
        return FOLDER / SHIPPED[name].file
    path = Path(model)
    if path.is_file():
        return path
    looks_like_file = path.suffix or path.parent != Path()
    what = f"no model file at {path}" if looks_like_file else f"no model called {str(model)!r}"
    raise ModelFileError(f"{what}; the shipped ones are {', '.join(SHIPPED)}, or give the path of an ONNX file")
