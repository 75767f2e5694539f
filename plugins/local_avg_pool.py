"""``LocalAvgPool``: the mean of a window around every pixel, moved inward at the borders.

Sums are taken along one axis after the other and within blocks as long as the window: a window is the end
of one block and the start of the next. No sum is longer than the window and none is subtracted, so that
the error does not grow with the map, as it does with running sums over whole rows (4e-5 for windows of 3
on maps 1280 wide), and half precision in and out is safe.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.errors import ContractError
from ..core.tensors import Array
from .plugin_op import Attribute, Attributes, Example, PluginOp, Shape


def output_shape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """Give the shape of the input, ``[batch, channel, height, width]``.

    Raises:
        ContractError: The input has not four axes, or the window holds no pixel.
    """
    (shape,) = shapes
    if len(shape) != 4:
        raise ContractError(f"LocalAvgPool takes [batch, channel, height, width], got {list(shape)}")
    if min(attributes["window"]) < 1:
        raise ContractError(f"window of LocalAvgPool is {attributes['window']}, expected pixels from 1")
    return shape


def local_avg_pool(x: Array, window: Sequence[int]) -> Array:
    """Average the window of every pixel.

    Along an axis of ``n`` samples the window has ``k = min(n, window)`` of them and starts at
    ``clamp(p - (k - 1) // 2, 0, n - k)``; an even window reaches one further right and down.

    Args:
        x: ``float [batch, channel, height, width]``.
        window: Height and width, pixels.

    Returns:
        ``float64``, of the shape of ``x``.
    """
    means = x.astype(np.float64)
    for axis, wanted in ((2, window[0]), (3, window[1])):
        length = x.shape[axis]
        reach = min(length, wanted)
        starts = [min(max(place - (reach - 1) // 2, 0), length - reach) for place in range(length)]
        averaged = [means.take(range(start, start + reach), axis).mean(axis) for start in starts]
        means = np.stack(averaged, axis)
    return means


#: means along one axis, of every window that lies inside the map: ``length - reach + 1`` of them.
#: The map is filled up with zeros to whole blocks and one more, and cut into blocks of ``reach``; the
#: window that starts at ``p`` is what is left of its block from ``p`` on, and what the block that holds
#: ``p + reach`` has before it.
_MEANS_ALONG = """
    {name}_axis = Constant <value_ints = [{axis}]> ()
    {name}_inner_axis = Constant <value_int = {inner_axis}> ()
    {name}_length = Slice (sides, {first}, {last})
    {name}_reach = Slice (reach, {first}, {last})
    {name}_full = Div ({name}_length, {name}_reach)
    {name}_blocks = Add ({name}_full, one)
    {name}_filled = Mul ({name}_blocks, {name}_reach)
    {name}_lack = Sub ({name}_filled, {name}_length)
    {name}_pads = Concat <axis = 0> (zero, {name}_lack)
    {name}_padded = Pad ({source}, {name}_pads, , {name}_axis)
    {name}_before = Shape <end = {axis}> ({source})
    {name}_after = Shape <start = {inner_axis}> ({source})
    {name}_cut_shape = Concat <axis = 0> ({name}_before, {name}_blocks, {name}_reach, {name}_after)
    {name}_cut = Reshape <allowzero = 1> ({name}_padded, {name}_cut_shape)
    {name}_head = CumSum <exclusive = 1> ({name}_cut, {name}_inner_axis)
    {name}_tail = CumSum <reverse = 1> ({name}_cut, {name}_inner_axis)
    {name}_joined_shape = Concat <axis = 0> ({name}_before, {name}_filled, {name}_after)
    {name}_heads = Reshape <allowzero = 1> ({name}_head, {name}_joined_shape)
    {name}_tails = Reshape <allowzero = 1> ({name}_tail, {name}_joined_shape)
    {name}_end = Add ({name}_length, one)
    {name}_count = Sub ({name}_end, {name}_reach)
    {name}_late = Slice ({name}_heads, {name}_reach, {name}_end, {name}_axis)
    {name}_early = Slice ({name}_tails, zero, {name}_count, {name}_axis)
    {name}_sums = Add ({name}_early, {name}_late)
    {name}_divisor = CastLike ({name}_reach, exact)
    {name}_means = Div ({name}_sums, {name}_divisor)
"""

#: windows that would reach over a border are the outermost inside it: their mean is repeated
_PORTABLE = (
    """
    exact = Cast <to = 1> (x)
    zero = Constant <value_ints = [0]> ()
    one = Constant <value_ints = [1]> ()
    two = Constant <value_ints = [2]> ()
    axes = Constant <value_ints = [2, 3]> ()
    window = Constant <value_ints: ints = @window> ()
    sides = Shape <start = 2> (x)
    reach = Min (window, sides)
"""
    + _MEANS_ALONG.format(name="across", source="exact", axis=3, inner_axis=4, first="one", last="two")
    + _MEANS_ALONG.format(name="down", source="across_means", axis=2, inner_axis=3, first="zero", last="one")
    + """
    others = Sub (reach, one)
    before = Div (others, two)
    after = Sub (others, before)
    border = Concat <axis = 0> (before, after)
    means = Pad <mode = "edge"> (down_means, border, , axes)
    y = CastLike (means, x)
"""
)

LOCAL_AVG_POOL = PluginOp(
    name="LocalAvgPool",
    doc="Mean of the window around every pixel; windows are moved inward at the borders.",
    attributes={"window": Attribute(length=2)},
    inputs=("x",),
    defaults={},
    output_shape=output_shape,
    reference=local_avg_pool,
    bodies={"portable": _PORTABLE},
    examples=(
        Example(shapes=((2, 3, 11, 14),), attributes={"window": (4, 7)}),
        Example(shapes=((1, 4, 9, 26),), attributes={"window": (24, 12)}),
        Example(shapes=((1, 1, 1, 1),), attributes={"window": (2, 2)}),
    ),
)
