"""The networks of the zoo as they are exported and measured: with their frames, with and without local pools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..core.optional import require

if TYPE_CHECKING:
    from ..models.network import DeblurNetwork

#: training crop and window of local pools, by task, as the authors of TLSC took them
TLSC_SIZES = {"deblur": (256, 384), "deblur_jpeg": (256, 384), "deblur_sr": (64, 96)}


@dataclass(frozen=True, slots=True)
class Variant:
    """A network of the zoo and how it is made.

    Attributes:
        model: Its name.
        options: Of ``create_model``.
        tlsc: Whether its global pools are local.
    """

    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tlsc: bool = False

    @property
    def label(self) -> str:
        """Unique name, which files are called after: ``kaist_net-in_frames=3``, ``mprnet-tlsc``."""
        given = [f"{name}={value}" for name, value in self.options.items()]
        return "-".join([self.model, *given, *(["tlsc"] if self.tlsc else [])])

    def create(self) -> DeblurNetwork:
        """Make it with seeded weights.

        Raises:
            MissingExtraError: torch is not installed.
        """
        require("torch", purpose=f"make the network {self.model}")
        from ..models.tlsc import apply_tlsc
        from ..models.zoo import create_model

        network = create_model(self.model, seed=0, **self.options)
        return apply_tlsc(network, *TLSC_SIZES[network.contract.task]) if self.tlsc else network


#: all that are measured; three-frame networks once
VARIANTS = (
    Variant("carlo_net"),
    Variant("kaist_net"),
    Variant("kaist_net", {"in_frames": 3}),
    Variant("atrous_net"),
    Variant("atrous_net", {"in_frames": 3}),
    Variant("eacd"),
    Variant("eacd", tlsc=True),
    Variant("edpn_sr"),
    Variant("edpn_sr", tlsc=True),
    Variant("edpn_sr_13m"),
    Variant("edpn_sr_13m", tlsc=True),
    Variant("edpn_deblock"),
    Variant("edpn_deblock", tlsc=True),
    Variant("mprnet_sr"),
    Variant("mprnet_sr", tlsc=True),
    Variant("mprnet"),
    Variant("mprnet", tlsc=True),
    Variant("wrcan"),
    Variant("wrcan", tlsc=True),
)
