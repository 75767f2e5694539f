"""From PyTorch networks to ONNX files that carry their contract."""
