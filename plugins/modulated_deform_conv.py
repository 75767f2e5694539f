"""``ModulatedDeformConv``: a convolution that samples off the grid, each sample with a factor (DCNv2).

Zhu, Hu, Lin and Dai, "Deformable ConvNets v2", CVPR 2019. Channel order of offsets and masks is that of
EDVR, mmcv, torchvision and ONNX ``DeformConv``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..core.errors import ContractError
from ..core.tensors import Array
from .plugin_op import Attribute, Attributes, Dim, Example, PluginOp, Shape


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """Give ``[batch, out_channels, out_height, out_width]``; sizes come from ``x`` or from ``offset``.

    Raises:
        ContractError: The shapes, as far as they are known, do not fit each other or the attributes.
    """
    x, offset, mask, weight = shapes[:4]
    for name, shape in zip(("x", "offset", "mask", "weight"), shapes, strict=False):
        if len(shape) != 4:
            raise ContractError(f"{name} of ModulatedDeformConv is {list(shape)}, expected four axes")
    taps = _product(weight[2], weight[3])
    groups = attributes["offset_groups"]
    sizes = [_out_side(side, axis, weight, attributes) for axis, side in enumerate(x[2:])]
    expected = {
        "channels of offset": (offset[1], _product(2 * groups, taps)),
        "channels of mask": (mask[1], _product(groups, taps)),
        "channels of x": (x[1], _product(weight[1], attributes["groups"])),
        "batch of offset": (offset[0], x[0]),
        "batch of mask": (mask[0], x[0]),
        "height of offset": (offset[2], sizes[0]),
        "width of offset": (offset[3], sizes[1]),
        "height of mask": (mask[2], offset[2]),
        "width of mask": (mask[3], offset[3]),
    }
    if len(shapes) > 4:
        expected["length of bias"] = (shapes[4][0], weight[0])
    for name, (got, wanted) in expected.items():
        if isinstance(got, int) and isinstance(wanted, int) and got != wanted:
            raise ContractError(f"{name} of ModulatedDeformConv is {got}, expected {wanted}")
    _check_divisible(x[1], groups, "channels of x", "offset_groups")
    _check_divisible(weight[0], attributes["groups"], "output channels", "groups")
    height, width = (size if isinstance(size, int) else dim for size, dim in zip(sizes, offset[2:], strict=True))
    return (x[0], weight[0], height, width)


def _product(one: Dim, other: Dim) -> Dim:
    return one * other if isinstance(one, int) and isinstance(other, int) else None


def _out_side(side: Dim, axis: int, weight: Shape, attributes: Attributes) -> Dim:
    kernel = weight[2 + axis]
    if not isinstance(side, int) or not isinstance(kernel, int):
        return None
    covered = attributes["dilations"][axis] * (kernel - 1) + 1
    spare = side + 2 * attributes["pads"][axis] - covered
    if spare < 0:
        raise ContractError(f"ModulatedDeformConv covers {covered} pixels, the padded map has {spare + covered}")
    return int(spare // attributes["strides"][axis] + 1)


def _check_divisible(count: Dim, groups: int, name: str, attribute: str) -> None:
    if groups < 1 or (isinstance(count, int) and count % groups):
        raise ContractError(f"{name} of ModulatedDeformConv are {count}, expected a multiple of {attribute} = {groups}")


def modulated_deform_conv(  # noqa: PLR0913 - inputs and attributes of the operator
    x: Array,
    offset: Array,
    mask: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0),
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
    offset_groups: int = 1,
) -> Array:
    """Convolve bilinear samples of ``x``; what lies outside the map counts as zero.

    Args:
        x: ``float [batch, in_channels, height, width]``.
        offset: ``[batch, offset_groups * 2 * K, out_height, out_width]`` pixels, ``K`` taps row by row,
            vertical then horizontal for each.
        mask: ``[batch, offset_groups * K, out_height, out_width]`` factors of the samples.
        weight: ``[out_channels, in_channels / groups, kernel_height, kernel_width]``.
        bias: ``[out_channels]``.
        strides: Vertical and horizontal, pixels, like ``pads`` and ``dilations``.
        pads: Zeros above and below, left and right.
        dilations: Distances between taps.
        groups: Of the convolution.
        offset_groups: Groups of input channels with offsets of their own.

    Returns:
        ``float64 [batch, out_channels, out_height, out_width]``.
    """
    batch, channels = x.shape[:2]
    out_channels, _, tall, wide = weight.shape
    rows, columns = offset.shape[2:]
    taps = tall * wide
    shifts = offset.astype(np.float64).reshape(batch, offset_groups, taps, 2, rows, columns)
    factors = mask.astype(np.float64).reshape(batch, offset_groups, 1, taps, rows, columns)
    maps = x.astype(np.float64).reshape(batch, offset_groups, channels // offset_groups, *x.shape[2:])
    samples = np.zeros((batch, offset_groups, channels // offset_groups, taps, rows, columns))
    for image, group, tap in np.ndindex(batch, offset_groups, taps):
        corner_y = np.arange(rows) * strides[0] - pads[0] + tap // wide * dilations[0]
        corner_x = np.arange(columns) * strides[1] - pads[1] + tap % wide * dilations[1]
        down, across = shifts[image, group, tap]
        samples[image, group, :, tap] = _bilinear(maps[image, group], corner_y[:, None] + down, corner_x + across)
    samples = (samples * factors).reshape(batch, groups, channels // groups, taps, rows, columns)
    kernels = weight.astype(np.float64).reshape(groups, out_channels // groups, channels // groups, taps)
    convolved: Array = np.einsum("bgckyx,gock->bgoyx", samples, kernels).reshape(batch, out_channels, rows, columns)
    return convolved if bias is None else convolved + bias.astype(np.float64)[:, None, None]


def _bilinear(maps: Array, y: Array, x: Array) -> Array:
    """Sample ``maps [channel, height, width]`` at ``y`` and ``x``, both ``[rows, columns]``."""
    samples = np.zeros((len(maps), *y.shape))
    for row, row_share in _neighbours(y, maps.shape[1]):
        for column, column_share in _neighbours(x, maps.shape[2]):
            samples += maps[:, row, column] * row_share * column_share
    return samples


def _neighbours(places: Array, length: int) -> Iterator[tuple[Array, Array]]:
    """Yield the sample before and the one behind each place, and their shares; none outside the map."""
    before = np.floor(places).astype(np.int64)
    for near in (before, before + 1):
        inside = (near >= 0) & (near < length)
        yield np.clip(near, 0, length - 1), np.where(inside, 1 - np.abs(places - near), 0)


#: where GridSample looks along one axis, ``[batch * offset_groups, K, out_height, out_width, 1]``. It
#: counts from -1 to 1 between the outer edges of the outer pixels: pixel p of n is at (p + 0.5 - n / 2) / (n / 2),
#: which is defined for maps one pixel wide. Whole numbers are subtracted before the division, so that
#: nothing is rounded but the shift and the quotient.
_COORDINATE = """
    {name}_stride = Gather (strides, {index})
    {name}_pad = Gather (pads, {index})
    {name}_dilation = Gather (dilations, {index})
    {name}_count = Gather (result, {index})
    {name}_numbers = Range (zero, {name}_count, one)
    {name}_strided = Mul ({name}_numbers, {name}_stride)
    {name}_corners = Sub ({name}_strided, {name}_pad)
    {name}_ahead = Mul ({name}_tap, {name}_dilation)
    {name}_aheads = Unsqueeze ({name}_ahead, last_axis)
    {name}_places = Add ({name}_aheads, {name}_corners)
    {name}_pixels = Cast <to = 1> ({name}_places)
    {name}_half = Gather (half_map, {index})
    {name}_middle = Sub ({name}_half, half)
    {name}_centred = Sub ({name}_pixels, {name}_middle)
    {name}_other_axis = Constant <value_ints = [{other_axis}]> ()
    {name}_still = Unsqueeze ({name}_centred, {name}_other_axis)
    {name}_shift = Gather <axis = 2> (shifts, {index})
    {name}_moved = Add ({name}_shift, {name}_still)
    {name}_scaled = Div ({name}_moved, {name}_half)
    {name}_coordinate = Unsqueeze ({name}_scaled, last_axis)
"""

#: all taps are sampled at once, as rows of one tall picture per image and offset group; what follows is
#: a convolution over K times as many channels. Coordinates and samples are in float32: TensorRT wants
#: both of one type, and half precision has no fractions left beyond 1024 pixels.
_PORTABLE = (
    """
    zero = Constant <value_int = 0> ()
    one = Constant <value_int = 1> ()
    half = Constant <value_float = 0.5> ()
    single = Constant <value_ints = [1]> ()
    pair = Constant <value_ints = [2]> ()
    last_axis = Constant <value_ints = [-1]> ()
    strides = Constant <value_ints: ints = @strides> ()
    pads = Constant <value_ints: ints = @pads> ()
    dilations = Constant <value_ints: ints = @dilations> ()
    offset_groups = Constant <value_int: int = @offset_groups> ()
    batch = Shape <end = 1> (x)
    channels = Shape <start = 1, end = 2> (x)
    map = Shape <start = 2> (x)
    result = Shape <start = 2> (offset)
    result_height = Shape <start = 2, end = 3> (offset)
    result_width = Shape <start = 3> (offset)
    kernel = Shape <start = 2> (weight)
    kernel_height = Gather (kernel, zero)
    kernel_width = Gather (kernel, one)
    taps = Mul (kernel_height, kernel_width)
    tap = Range (zero, taps, one)
    row_tap = Div (tap, kernel_width)
    row_start = Mul (row_tap, kernel_width)
    column_tap = Sub (tap, row_start)
    tap_count = Unsqueeze (taps, last_axis)
    map_count = Mul (batch, offset_groups)
    group_width = Div (channels, offset_groups)
    exact_map = Cast <to = 1> (map)
    half_map = Mul (exact_map, half)
    exact_offset = Cast <to = 1> (offset)
    shifts_shape = Concat <axis = 0> (map_count, tap_count, pair, result)
    shifts = Reshape <allowzero = 1> (exact_offset, shifts_shape)
"""
    + _COORDINATE.format(name="row", index="zero", other_axis=2)
    + _COORDINATE.format(name="column", index="one", other_axis=1)
    + """
    coordinates = Concat <axis = -1> (column_coordinate, row_coordinate)
    grid_height = Mul (tap_count, result_height)
    grid_shape = Concat <axis = 0> (map_count, grid_height, result_width, pair)
    grid = Reshape <allowzero = 1> (coordinates, grid_shape)
    exact = Cast <to = 1> (x)
    maps_shape = Concat <axis = 0> (map_count, group_width, map)
    maps = Reshape <allowzero = 1> (exact, maps_shape)
    exact_samples = GridSample <mode = "linear", padding_mode = "zeros", align_corners = 0> (maps, grid)
    tall_samples = CastLike (exact_samples, x)
    samples_shape = Concat <axis = 0> (map_count, group_width, tap_count, result)
    samples = Reshape <allowzero = 1> (tall_samples, samples_shape)
    factors_shape = Concat <axis = 0> (map_count, single, tap_count, result)
    factors = Reshape <allowzero = 1> (mask, factors_shape)
    scaled = Mul (samples, factors)
    column_length = Mul (channels, tap_count)
    columns_shape = Concat <axis = 0> (batch, column_length, result)
    columns = Reshape <allowzero = 1> (scaled, columns_shape)
    matrix_shape = Constant <value_ints = [0, -1, 1, 1]> ()
    matrix = Reshape (weight, matrix_shape)
    y = Conv <kernel_shape = [1, 1], group: int = @groups> (columns, matrix, bias)
"""
)

#: needs ONNX Runtime 1.25. Zeros are added to the map beforehand: ``DeformConv`` takes four numbers of
#: padding, and a body cannot make them of the two of ours
_NATIVE = """
    pads = Constant <value_ints: ints = @pads> ()
    axes = Constant <value_ints = [2, 3]> ()
    border = Concat <axis = 0> (pads, pads)
    exact = Cast <to = 1> (x)
    padded = Pad (exact, border, , axes)
    exact_weight = Cast <to = 1> (weight)
    exact_offset = Cast <to = 1> (offset)
    exact_bias = Cast <to = 1> (bias)
    exact_mask = Cast <to = 1> (mask)
    exact_result = DeformConv <
        strides: ints = @strides, dilations: ints = @dilations, group: int = @groups, offset_group: int = @offset_groups
    > (padded, exact_weight, exact_offset, exact_bias, exact_mask)
    y = CastLike (exact_result, x)
"""

_ZERO_BIAS = """
    length = Shape <end = 1> (weight)
    zeros = ConstantOfShape (length)
    bias = CastLike (zeros, weight)
"""

MODULATED_DEFORM_CONV = PluginOp(
    name="ModulatedDeformConv",
    doc="Convolution of bilinear samples that are moved by offsets and multiplied by a mask (DCNv2).",
    attributes={
        "strides": Attribute(length=2, default=(1, 1)),
        "pads": Attribute(length=2, default=(0, 0)),
        "dilations": Attribute(length=2, default=(1, 1)),
        "groups": Attribute(default=1),
        "offset_groups": Attribute(default=1),
    },
    inputs=("x", "offset", "mask", "weight", "bias"),
    defaults={"bias": _ZERO_BIAS},
    output_shape=output_shape,
    reference=modulated_deform_conv,
    bodies={"portable": _PORTABLE, "onnxruntime": _NATIVE},
    examples=(
        Example(
            shapes=((2, 8, 9, 14), (2, 36, 9, 14), (2, 18, 9, 14), (6, 8, 3, 3), (6,)),
            attributes={"pads": (1, 1), "offset_groups": 2},
        ),
        Example(
            shapes=((1, 8, 12, 17), (1, 24, 6, 9), (1, 12, 6, 9), (4, 4, 3, 1)),
            attributes={"strides": (2, 2), "pads": (2, 0), "dilations": (2, 1), "groups": 2, "offset_groups": 4},
        ),
        Example(shapes=((1, 2, 1, 1), (1, 2, 1, 1), (1, 1, 1, 1), (3, 2, 1, 1)), attributes={}),
    ),
)
