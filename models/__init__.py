"""PyTorch architectures and their checkpoints."""
