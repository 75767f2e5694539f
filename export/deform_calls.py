"""The deformable convolutions of torchvision, mmcv and BasicSR: where their calls end, and how they go elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from ..core.optional import require
from ..plugins.modulated_deform_conv import output_shape

PURPOSE = "export a network"
#: whose functions are known
PACKAGES = ("torchvision", "mmcv", "basicsr")


@dataclass(frozen=True, slots=True, eq=False)
class DeformCall:
    """One call of a deformable convolution; groups are read off the shapes.

    Attributes:
        x: ``[batch, in_channels, height, width]``.
        offset: ``[batch, offset_groups * 2 * K, out_height, out_width]``.
        weight: ``[out_channels, in_channels / groups, kernel_height, kernel_width]``, of K taps.
        mask: ``[batch, offset_groups * K, out_height, out_width]``; None for the unmodulated form.
        bias: ``[out_channels]`` or None.
        stride: One number or two, like ``padding`` and ``dilation``.
        padding: Zeros around the map.
        dilation: Distance between taps.
    """

    x: Any
    offset: Any
    weight: Any
    mask: Any = None
    bias: Any = None
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1

    def attributes(self) -> dict[str, Any]:
        """Settings as the operator ``ModulatedDeformConv`` has them.

        Raises:
            ContractError: The shapes do not fit each other.
        """
        taps = self.weight.shape[2] * self.weight.shape[3]
        found = {
            "strides": list(_pair(self.stride)),
            "pads": list(_pair(self.padding)),
            "dilations": list(_pair(self.dilation)),
            "groups": self.x.shape[1] // self.weight.shape[1],
            "offset_groups": self.offset.shape[1] // (2 * taps),
        }
        mask = _mask_shape(self.offset) if self.mask is None else self.mask.shape
        shapes = [self.x.shape, self.offset.shape, mask, self.weight.shape]
        shapes += [] if self.bias is None else [self.bias.shape]
        output_shape([tuple(side if isinstance(side, int) else None for side in shape) for shape in shapes], found)
        return found

    def factors(self) -> Any:
        """The mask; ones where there is none."""
        return self.offset.new_ones(_mask_shape(self.offset)) if self.mask is None else self.mask


#: gives the result of a call in the place of the package's own code
Handler = Callable[[DeformCall], Any]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _mask_shape(offset: Any) -> tuple[Any, ...]:
    batch, numbers, *sides = offset.shape
    return (batch, numbers // 2, *sides)


def _modulated(x: Any, offset: Any, mask: Any, weight: Any, bias: Any = None, *settings: Any) -> DeformCall:
    return DeformCall(x, offset, weight, mask, bias, *settings[:3])


def _unmodulated(x: Any, offset: Any, weight: Any, *settings: Any) -> DeformCall:
    return DeformCall(x, offset, weight, None, None, *settings[:3])


def _of_torchvision(x: Any, weight: Any, offset: Any, mask: Any, bias: Any, *settings: Any) -> DeformCall:
    has_mask = settings[-1]
    sides = (settings[:2], settings[2:4], settings[4:6])
    return DeformCall(x, offset, weight, mask if has_mask else None, bias, *sides)


#: (package, autograd function) -> how its arguments are meant; every public function of the package ends in one
FUNCTIONS: Mapping[tuple[str, str], Callable[..., DeformCall]] = {
    ("mmcv", "DeformConv2dFunction"): _unmodulated,
    ("mmcv", "ModulatedDeformConv2dFunction"): _modulated,
    ("basicsr", "DeformConvFunction"): _unmodulated,
    ("basicsr", "ModulatedDeformConvFunction"): _modulated,
}


def kind_of(python_class: type) -> tuple[str, str]:
    """Name a class by its package and its own name, so that the package need not be installed."""
    return python_class.__module__.partition(".")[0], python_class.__name__


@contextmanager
def redirected(handler: Handler, packages: tuple[str, ...] = PACKAGES) -> Iterator[None]:
    """Let ``handler`` answer the calls of deformable convolutions, however the caller got hold of the function.

    Holds for all threads as far as mmcv and BasicSR are concerned: their classes are changed meanwhile.
    """
    functions = {kind: FUNCTIONS[kind] for kind in FUNCTIONS if kind[0] in packages}
    known = (found for found in _functions() if kind_of(found) in functions)
    with ExitStack() as stack:
        stack.enter_context(
            forwards_replaced({found: _answered(functions[kind_of(found)], handler) for found in known})
        )
        if "torchvision" in packages:
            stack.enter_context(_torchvision_redirected(handler))
        yield


@contextmanager
def forwards_replaced(forwards: Mapping[type, Any]) -> Iterator[None]:
    """Give classes another ``forward`` for a while; subclasses with one of their own keep it."""
    own = {changed: vars(changed).get("forward") for changed in forwards}
    try:
        for changed, forward in forwards.items():
            setattr(changed, "forward", forward)  # noqa: B010 - mypy refuses the plain form
        yield
    finally:
        for changed, forward in own.items():
            if forward is not None:
                setattr(changed, "forward", forward)  # noqa: B010
            elif "forward" in vars(changed):
                delattr(changed, "forward")


def _functions() -> Iterator[type]:
    """Yield the autograd functions that are defined so far."""
    waiting = require("torch.autograd", purpose=PURPOSE).Function.__subclasses__()
    while waiting:
        found = waiting.pop()
        waiting += found.__subclasses__()
        yield found


def _answered(meaning: Callable[..., DeformCall], handler: Handler) -> Any:
    return staticmethod(lambda _context, *inputs: handler(meaning(*inputs)))


def _torchvision_redirected(handler: Handler) -> Any:
    """Make the context in which torchvision's operator, which its functions and modules end in, is answered."""
    torch = require("torch", purpose=PURPOSE)
    mode: Any = require("torch.overrides", purpose=PURPOSE).TorchFunctionMode
    operator: Any = getattr(torch.ops.torchvision, "deform_conv2d", None)
    if operator is None:
        return ExitStack()

    class Redirected(mode):  # type: ignore[misc]
        def __torch_function__(self, called: Any, _: Any, inputs: Any = (), named: Any = None) -> Any:
            named = named or {}
            if called not in (operator, operator.default):
                return called(*inputs, **named)
            rest = operator.default._schema.arguments[len(inputs) :]
            return handler(_of_torchvision(*inputs, *(named[argument.name] for argument in rest)))

    return Redirected()


@contextmanager
def basicsr_on_cpu() -> Iterator[None]:
    """Compute BasicSR's deformable convolutions in plain PyTorch; its own code runs on CUDA only."""
    from ..models.deform_conv import modulated_deform_conv2d

    def computed(call: DeformCall) -> Any:
        stride, padding, dilation = (_pair(each) for each in (call.stride, call.padding, call.dilation))
        return modulated_deform_conv2d(
            call.x,
            call.offset,
            call.factors(),
            call.weight,
            call.bias,
            stride=stride,
            padding=padding,
            dilation=dilation,
        )

    with redirected(computed, ("basicsr",)):
        yield
