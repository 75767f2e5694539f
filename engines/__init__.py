"""ONNX to TensorRT engines: build, cache, describe, trust."""
