"""What a network needs of its frames, written once at export and read by everything after."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

from .errors import ContractError

Task = Literal["deblur", "deblur_jpeg", "deblur_sr"]
Halo = int | Literal["global", "width"]

CONTRACT_VERSION = 1
#: largest side of frames, and of what they are filled up to, pixels
LARGEST_PX = 16384


@dataclass(frozen=True, slots=True)
class FrameContract:
    """What a network needs of frames; it travels in the model file's metadata.

    Attributes:
        task: What is undone: ``deblur`` motion blur, ``deblur_jpeg`` blur and compression,
            ``deblur_sr`` blur and fourfold reduction.
        window: Consecutive frames per restored one: 1, or 3 (previous, current, next).
        scale: Restored height over input height, 1 or 4.
        multiple: Height and width the bare network accepts are multiples of this, pixels, at most 16384.
        min_size: Smallest height and width the file accepts, pixels, at most 16384; smaller frames are
            padded first.
        halo_px: How far away a pixel can still matter: a number, ``"global"`` where every pixel
            does, ``"width"`` where a whole row does.
        io: ``uint8``: frames ``[batch, height, width, 3]`` in and out, any size from ``min_size``;
            ``float``: the bare network, ``[batch, 3, height, width]``.
        color: Channel order, ``rgb``.
        range: What float input 1.0 and 0.0 mean: ``0..1`` or ``0..255``.
        pad: How frames are filled up to ``multiple``; ``reflect`` is inside a ``uint8`` file.
        version: Of this record.

    Raises:
        ContractError: A value is impossible.
    """

    task: Task = "deblur"
    window: int = 1
    scale: int = 1
    multiple: int = 1
    min_size: int = 1
    halo_px: Halo = "global"
    io: Literal["uint8", "float"] = "uint8"
    color: Literal["rgb"] = "rgb"
    range: Literal["0..1", "0..255"] = "0..1"
    pad: Literal["reflect", "none"] = "reflect"
    version: int = CONTRACT_VERSION

    def __post_init__(self) -> None:
        _one_of("version", self.version, (CONTRACT_VERSION,))
        _one_of("task", self.task, get_args(Task))
        _one_of("window", self.window, (1, 3))
        _one_of("scale", self.scale, (1, 4))
        _one_of("io", self.io, ("uint8", "float"))
        _one_of("color", self.color, ("rgb",))
        _one_of("range", self.range, ("0..1", "0..255"))
        _one_of("pad", self.pad, ("reflect", "none"))
        for name in ("multiple", "min_size"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= LARGEST_PX:
                raise ContractError(
                    f"{name} is {value!r:.40}, expected a whole number of pixels from 1 to {LARGEST_PX}"
                )
        if self.pad == "none" and self.multiple > 1:
            raise ContractError(f"pad is 'none' with a multiple of {self.multiple}, expected 'reflect'")
        if self.halo_px not in ("global", "width") and (type(self.halo_px) is not int or self.halo_px < 0):
            raise ContractError(f"halo_px is {self.halo_px!r:.40}, expected pixels from 0, 'global' or 'width'")

    def to_json(self) -> str:
        """Write the contract as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> FrameContract:
        """Read a contract.

        Raises:
            ContractError: The text is no JSON object, or a field is unknown or impossible.
        """
        try:
            values = json.loads(text)
        # ValueError: no JSON, or a number of thousands of digits
        except (ValueError, RecursionError) as error:
            raise ContractError(f"the contract is not JSON ({error}); export the model again") from error
        if not isinstance(values, dict):
            raise ContractError(f"the contract is a {type(values).__name__}, expected an object")
        unknown = sorted(set(values) - {entry.name for entry in fields(cls)})
        if unknown:
            raise ContractError(f"the contract has unknown fields {unknown}; update deblurrt")
        return cls(**values)


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if not any(type(value) is type(choice) and value == choice for choice in allowed):
        raise ContractError(f"{name} is {value!r:.40}, expected one of {', '.join(map(repr, allowed))}")
