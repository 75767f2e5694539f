"""Reading build logs; lines as TensorRT-RTX 1.7 writes them."""

from __future__ import annotations

from deblurrt.engines.build_log import EngineLayer, LayerTensor, read_log

CONVOLUTION = (
    "Name: body.1/conv2d_24_myl0_50, LayerType: correlation, Inputs: [ { Name: relu_3.1_138_myl0, Dimensions: "
    "[1,16,-1,-1], Strides: [-1,1,-1,16], StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) Channel major format }"
    "], Constants: [ { Name: __mye14, Dimensions: [16,16,3,3], Strides: [144,9,3,1], StrideOrder: [3,2,1,0], Datatype: "
    "Half, Format: (Linear) Row major linear format }], Outputs: [ { Name: conv2d_24, Dimensions: [1,16,-1,-1], "
    "Strides: [-1,1,-1,16], StrideOrder: [3,0,2,1], Datatype: Float, Format: (NHWC) Channel major format }], "
    "TacticName: , StreamId: 1, Metadata: "
)
LINES = [
    "Parsing node: body.0/conv2d [Conv]",
    "Parsing node: body.1/conv2d_24 [Conv]",
    "Total Activation Memory: 423321600 bytes",
    "Total Weights Memory: 114308 bytes",
    "Layers:",
    "Name: __mye19571_myl0_51, LayerType: wait, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 1",
    CONVOLUTION,
]


def test_layers_memory_and_the_last_node_are_found() -> None:
    log = read_log(LINES)
    assert log.layers == (
        EngineLayer(
            "body.1/conv2d_24",
            "correlation",
            (LayerTensor("relu_3.1_138_myl0", "Half", (1, 16, -1, -1)),),
            (LayerTensor("__mye14", "Half", (16, 16, 3, 3)),),
            (LayerTensor("conv2d_24", "Float", (1, 16, -1, -1)),),
        ),
    )
    assert (log.activation_bytes, log.weight_bytes) == (423321600, 114308)
    assert log.last_node == ("body.1/conv2d_24", "Conv")


def test_log_that_says_nothing_gives_nothing() -> None:
    log = read_log(["[TRT] [I] something of another version", ""])
    assert (log.layers, log.activation_bytes, log.weight_bytes, log.last_node) == ((), None, None, None)
