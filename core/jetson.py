"""What a Jetson says of itself: its board, its Linux release, and the JetPack that belongs to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .processor import text_of

#: Jetson Linux release -> JetPack (https://developer.nvidia.com/embedded/jetpack-archive)
JETPACK_OF_RELEASE = {
    "35.1.0": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.1": "5.1.5",
    "35.6.2": "5.1.5",
    "35.6.3": "5.1.5",
    "35.6.4": "5.1.6",
    "36.2.0": "6.0",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.2": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "38.2.0": "7.0",
    "38.2.1": "7.0",
    "38.2.2": "7.0",
    "38.4.0": "7.1",
    "39.0.0": "7.2",
    "39.2.0": "7.2",
}
#: the same for releases that are not listed: first number -> first number
JETPACK_MAJOR = {"32": 4, "34": 5, "35": 5, "36": 6, "38": 7, "39": 7}
#: system on chip -> name CUDA gives its GPU, compute capability
GPU_OF_SOC = {"tegra194": ("Xavier", "7.2"), "tegra234": ("Orin", "8.7"), "tegra264": ("NVIDIA Thor", "11.0")}

RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)")


@dataclass(frozen=True, slots=True)
class Jetson:
    """A Jetson board; what is not known is empty.

    Attributes:
        model: As the board calls itself.
        soc: System on chip, ``tegra234``.
        release: Of Jetson Linux (L4T), ``36.4.4``.
    """

    model: str
    soc: str = ""
    release: str = ""

    @property
    def jetpack(self) -> str:
        """JetPack that belongs to the release; empty: the release is not in the table."""
        return JETPACK_OF_RELEASE.get(self.release, "")

    @property
    def jetpack_major(self) -> int | None:
        """First number of the JetPack, also for releases that are not in the table; None: unknown."""
        return JETPACK_MAJOR.get(self.release.partition(".")[0])

    @property
    def compute_capability(self) -> str:
        """Of its GPU, ``8.7``; empty: unknown."""
        return GPU_OF_SOC.get(self.soc, ("", ""))[1]


def read_jetson(root: Path) -> Jetson | None:
    """Read what a Jetson tells in files under ``root``; None where this is no Jetson."""
    compatible = text_of(root / "proc/device-tree/compatible")
    release = RELEASE.match(text_of(root / "etc/nv_tegra_release"))
    soc = re.search(r"nvidia,(tegra\d+)", compatible)
    if not soc and not release:
        return None
    version = ""
    if release:
        # "4.4" and "2": the revision has one number or two, the release always three
        version = ".".join([release[1], *release[2].split("."), "0"][:3])
    return Jetson(text_of(root / "proc/device-tree/model"), soc[1] if soc else "", version)
