"""PyTorch architectures and their checkpoints."""

from .checkpoints import load_checkpoint, model_from_checkpoint, official_state_dict
from .zoo import ZOO, create_model

__all__ = ["ZOO", "create_model", "load_checkpoint", "model_from_checkpoint", "official_state_dict"]
