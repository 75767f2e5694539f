"""What a MODEL on the command line may be, and how it becomes a session."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.artifacts import open_onnx
from ..core.engine_file import is_engine
from ..core.errors import ModelFileError, UsageError
from ..core.manifest import read_manifest
from ..core.optional import require
from ..models.checkpoints import load_checkpoint, model_from_checkpoint
from ..models.tlsc_config import parse_tlsc
from ..models.zoo import ZOO, create_model
from ..runtime.ensemble import ensemble_backend
from ..runtime.session import Session, SessionConfig, open_session
from ..runtime.shipped_models import ALIASES, SHIPPED, find_model
from ..runtime.tiling import tiled_backend
from .users_network import users_network

if TYPE_CHECKING:
    from ..models.network import DeblurNetwork

logger = logging.getLogger(__name__)

#: ``package.module:factory``; a path or a drive letter has other characters
USERS_NETWORK = re.compile(r"[\w.]+:\w+")
MODEL_FORMS = (
    "a shipped name, a zoo name (deblurrt models lists both), package.module:factory, FILE.onnx or FILE.engine"
)


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model and the test-time options of the papers.

    Attributes:
        model: Shipped name, zoo name, ``package.module:factory`` or the path of an ONNX file or engine.
        checkpoint: Weights of a PyTorch network.
        tlsc: ``TRAIN:BASE`` turns global pools into local ones.
        ensembles: Names of ``ENSEMBLES``.
    """

    model: str
    checkpoint: Path | None = None
    tlsc: str | None = None
    ensembles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A session and what identifies it.

    Attributes:
        session: Ready for frames; to be closed.
        identity: Hash of the weights or of the file, with every option that changes the picture;
            None where the weights cannot be told.
    """

    session: Session
    identity: dict[str, Any] | None


def open_model(choice: ModelChoice, config: SessionConfig) -> OpenedModel:
    """Open any MODEL; networks that are no file run in PyTorch.

    Raises:
        UsageError: Options do not go with the model.
        ModelFileError: There is no such model, or its file or checkpoint is unfit.
        MachineError: A package or device is missing.
    """
    if is_network(choice.model):
        session, origin = _open_network(choice, config)
    else:
        session, origin = _open_file(choice, config)
    backend = ensemble_backend(session.backend, session.contract, choice.ensembles)
    if backend is not session.backend:
        session = Session(backend, session.contract, session.model)
    options = {"tlsc": choice.tlsc, "ensembles": sorted(choice.ensembles), "backend": session.backend.description}
    return OpenedModel(session, {"weights": origin, "model": choice.model, **options} if origin else None)


def is_network(model: str) -> bool:
    """Whether MODEL is a network that PyTorch runs, not a file."""
    if model in SHIPPED or model in ALIASES or Path(model).exists():
        return False
    return model in ZOO or USERS_NETWORK.fullmatch(model) is not None


def _open_file(choice: ModelChoice, config: SessionConfig) -> tuple[Session, str]:
    for name, value in (("--checkpoint", choice.checkpoint), ("--tlsc", choice.tlsc)):
        if value is not None:
            raise UsageError(f"{name} goes with a network of the zoo, {choice.model} has its weights and pools inside")
    if not Path(choice.model).is_file() and choice.model not in SHIPPED | ALIASES.keys():
        raise ModelFileError(f"no model {choice.model!r}; expected {MODEL_FORMS}")
    session = open_session(choice.model, config)
    if is_engine(choice.model):
        return session, read_manifest(Path(choice.model)).plan_sha256
    return session, open_onnx(find_model(choice.model)).sha256()


def _open_network(choice: ModelChoice, config: SessionConfig) -> tuple[Session, str | None]:
    require("torch", purpose=f"run the network {choice.model}")
    from ..models.network_facts import facts_of
    from ..models.torch_backend import session_from_network

    if config.backend != "auto":
        raise UsageError(f"--backend {config.backend} runs files, {choice.model} runs in PyTorch; leave --backend out")
    network = with_tlsc(network_of(choice.model, choice.checkpoint), choice.tlsc)
    session = session_from_network(network, choice.model, config.options)
    session = Session(tiled_backend(session.backend, session.contract, config.tile), session.contract, session.model)
    return session, facts_of(network).weights or None


def with_tlsc(network: DeblurNetwork, tlsc: str | None) -> DeblurNetwork:
    """Replace a network's global pools as ``TRAIN:BASE`` says; None leaves them.

    Raises:
        UsageError: The text has another form, or there is no pool to replace.
    """
    if tlsc is None:
        return network
    from ..models.tlsc import apply_tlsc

    sizes = parse_tlsc(tlsc)
    return apply_tlsc(network, sizes.train_size, sizes.base_size)


def network_of(model: str, checkpoint: Path | None, seed: int = 0) -> DeblurNetwork:
    """Make a network of the zoo or a user's own, with the weights of a checkpoint.

    Raises:
        UsageError: The factory cannot be imported, or gives something else than a network.
        ModelFileError: The checkpoint is missing, damaged or of another network.
    """
    if model in ZOO and checkpoint is not None:
        return model_from_checkpoint(checkpoint, model)
    network = create_model(model, seed=seed) if model in ZOO else users_network(model, seed)
    if checkpoint is not None:
        load_checkpoint(network, checkpoint)
    elif model in ZOO:
        logger.warning("%s has no weights here: random ones are used and scores mean nothing; give --checkpoint", model)
    return network
