"""What every network of the zoo needs and costs, known without making it; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..core.contract import FrameContract
from ..core.errors import UsageError
from .student_config import STUDENT_S, STUDENT_XS, StudentConfig


@dataclass(frozen=True, slots=True)
class MacCount:
    """Multiply-accumulates as a polynomial of the input's height and width, exact at allowed sizes.

    Attributes:
        per_pixel: Per input pixel.
        per_side: Per row and per column; not zero where convolutions have no padding.
        fixed: Whatever the size, such as the gates behind global pools.
    """

    per_pixel: int
    per_side: int = 0
    fixed: int = 0

    def at(self, height: int, width: int) -> int:
        """Count for an input of this size, pixels."""
        return self.per_pixel * height * width + self.per_side * (height + width) + self.fixed


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """One line of the zoo's table.

    Attributes:
        name: For ``create_model``, or a shipped model's.
        contract: What it needs of frames.
        parameters: Number of weights, those that nothing uses included.
        macs: Cost of one frame, as the authors wrote the network.
        source: Paper, where and when.
        options: With which it is made.
        ships: Whether its weights come with the package.
        folded_macs: Cost after the exact rewriting for deployment; None where there is none.
    """

    name: str
    contract: FrameContract
    parameters: int
    macs: MacCount
    source: str
    options: dict[str, Any] = field(default_factory=dict)
    ships: bool = False
    folded_macs: MacCount | None = None

    @property
    def label(self) -> str:
        """Name with the options, as in ``kaist_net(in_frames=3)``."""
        options = ", ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}({options})" if options else self.name

    def gmac(self, height: int, width: int) -> float:
        """Cost of restoring one picture of this size, thousand million multiply-accumulates.

        Args:
            height: Of the restored picture, pixels; the input is filled up to the network's multiple.
            width: Likewise.

        Raises:
            UsageError: The size is not a multiple of the network's scale.
        """
        return self.macs.at(*self._input_size(height, width)) / 1e9

    def folded_gmac(self, height: int, width: int) -> float | None:
        """As ``gmac``, after the exact rewriting for deployment; None where there is none.

        Raises:
            UsageError: As ``gmac``.
        """
        if self.folded_macs is None:
            return None
        return self.folded_macs.at(*self._input_size(height, width)) / 1e9

    def _input_size(self, height: int, width: int) -> tuple[int, int]:
        scale, multiple = self.contract.scale, self.contract.multiple
        if height % scale or width % scale:
            raise UsageError(f"{height}x{width} is no multiple of {scale}, the scale of {self.name}; change --size")
        tall, wide = (-(-length // scale // multiple) * multiple for length in (height, width))
        return max(tall, self.contract.min_size), max(wide, self.contract.min_size)


def _student(name: str, config: StudentConfig, parameters: int) -> NetworkFacts:
    contract = FrameContract(multiple=config.multiple, halo_px=config.halo_px, io="float")
    return NetworkFacts(name, contract, parameters, MacCount(config.macs_per_pixel), "this package", ships=True)


def _deblur(multiple: int, halo_px: int, *, window: int = 1, min_size: int = 1) -> FrameContract:
    return FrameContract(multiple=multiple, halo_px=halo_px, window=window, min_size=min_size, io="float")


_WRCAN = FrameContract(task="deblur_jpeg", multiple=4, io="float")
_EDPN_DEBLOCK = FrameContract(task="deblur_jpeg", multiple=4, io="float")
_EDPN_SR = FrameContract(task="deblur_sr", scale=4, multiple=4, io="float")
_MANCINI = "Mancini and Simonati, Bologna 2020"

#: one line per network and usual choice of options; tests hold them against the networks themselves
FACTS: tuple[NetworkFacts, ...] = (
    _student("default", STUDENT_S, 633_084),
    _student("fast", STUDENT_XS, 936_464),
    NetworkFacts("wrcan", _WRCAN, 156_974_339, MacCount(10_012_032, 0, 524_288), "Lee et al., CVPRW 2021"),
    NetworkFacts(
        "edpn_sr",
        _EDPN_SR,
        16_274_041,
        MacCount(28_128_032, 0, 122_880),
        "Xu et al., CVPRW 2021",
        folded_macs=MacCount(11_676_512, 0, 122_880),
    ),
    NetworkFacts(
        "edpn_deblock",
        _EDPN_DEBLOCK,
        16_207_481,
        MacCount(28_036_576, 0, 122_880),
        "Xu et al., CVPRW 2021",
        folded_macs=MacCount(11_585_056, 0, 122_880),
    ),
    NetworkFacts(
        "edpn_sr_13m",
        _EDPN_SR,
        13_335_939,
        MacCount(26_639_264, 0, 122_880),
        "Xu et al., CVPRW 2021",
        folded_macs=MacCount(10_390_432, 0, 122_880),
    ),
    NetworkFacts(
        "eacd",
        FrameContract(task="deblur_jpeg", io="float"),
        2_761_226,
        MacCount(5_134_592, 0, 3_072),
        "Kim and Jeong, NTIRE 2021",
    ),
    NetworkFacts(
        "carlo_net",
        _deblur(1, 20, min_size=21),
        2_663_555,
        MacCount(2_661_120, -31_864_320, 453_012_480),
        _MANCINI,
    ),
    NetworkFacts("kaist_net", _deblur(8, 253), 11_590_813, MacCount(895_488), _MANCINI),
    NetworkFacts(
        "kaist_net", _deblur(8, 253, window=3), 11_595_613, MacCount(900_288), _MANCINI, options={"in_frames": 3}
    ),
    NetworkFacts("atrous_net", _deblur(2, 58), 12_571_011, MacCount(3_276_864), _MANCINI, options={"blocks": 5}),
    NetworkFacts("atrous_net", _deblur(2, 108), 24_371_331, MacCount(6_225_984), _MANCINI),
    NetworkFacts(
        "atrous_net", _deblur(2, 108, window=3), 24_433_539, MacCount(6_288_192), _MANCINI, options={"in_frames": 3}
    ),
    NetworkFacts(
        "mprnet",
        FrameContract(multiple=8, io="float"),
        20_127_073,
        MacCount(11_587_680, 0, 875_136),
        "Zamir et al., CVPR 2021",
    ),
    NetworkFacts(
        "mprnet_sr",
        FrameContract(task="deblur_sr", scale=4, multiple=8, io="float"),
        34_116_641,
        MacCount(25_417_440, 0, 1_057_408),
        "Shoyan",
    ),
)
