"""Exact rewritings of a network before it is traced, in one visible order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..models.network import DeblurNetwork

ModelPass = Callable[["DeblurNetwork"], "DeblurNetwork"]


def plain_weights(network: DeblurNetwork) -> DeblurNetwork:
    """Store the weights that a weight norm computes in each run."""
    from ..models.network_copies import without_weight_norm

    return without_weight_norm(network)


def fold_copies(network: DeblurNetwork) -> DeblurNetwork:
    """Rewrite EDPN for one copy of the frame instead of several equal ones."""
    from ..models.edpn import Edpn
    from ..models.edpn_folding import fold_edpn

    return fold_edpn(network) if isinstance(network, Edpn) else network


def fold_norms(network: DeblurNetwork) -> DeblurNetwork:
    """Multiply batch norms into the convolutions before them; one that follows none stays."""
    from ..models.reparameterise import fold_fitting_norms

    return fold_fitting_norms(network)


def drop_dead(network: DeblurNetwork) -> DeblurNetwork:
    """Drop the modules the authors' code builds and never uses."""
    from ..models.reparameterise import drop_unused

    return drop_unused(network) if getattr(network, "unused", ()) else network


MODEL_PASSES: tuple[ModelPass, ...] = (plain_weights, fold_copies, drop_dead, fold_norms)
