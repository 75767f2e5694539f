"""Operators of our own: what ONNX and TensorRT lack, with schema, reference and bodies of standard operators."""
