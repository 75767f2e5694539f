"""What PyTorch has for the same as our kernels, and its events as a clock; for ``deblurrt plugins bench``."""

from __future__ import annotations

from typing import Any

from ..core.errors import MachineError
from ..core.optional import require
from .conformance_cases import KernelCase
from .kernel_bench import Work


class TorchClock:
    """Times work on a stream of PyTorch's by events of CUDA.

    Args:
        torch: The module, with a GPU.
    """

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._stream = torch.cuda.Stream()
        self.stream: int = self._stream.cuda_stream

    def times_ms(self, work: Work, runs: int, calls: int = 1) -> list[float]:
        torch = self._torch
        with torch.cuda.stream(self._stream):
            pairs = []
            for _ in range(runs):
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
                for _ in range(calls):
                    work()
                end.record()
                pairs.append((begin, end))
            self._stream.synchronize()
        return [float(begin.elapsed_time(end)) / calls for begin, end in pairs]


class TorchRivals:
    """Copies, products, convolutions and pools of PyTorch.

    Args:
        torch: The module.
        device: Where it computes, ``cuda``.
    """

    def __init__(self, torch: Any, device: str = "cuda") -> None:
        self._torch, self._device = torch, device

    def copy(self, size: int) -> Work:
        source = self._torch.zeros(size, dtype=self._torch.uint8, device=self._device)
        target = self._torch.empty_like(source)
        return lambda: target.copy_(source)

    def product(self, side: int, dtype: str) -> Work:
        type_ = getattr(self._torch, dtype)
        one, other = (self._torch.randn(side, side, device=self._device).to(type_) for _ in range(2))
        result = self._torch.empty_like(one)
        return lambda: self._torch.matmul(one, other, out=result)

    def works(self, case: KernelCase) -> dict[str, Work | str]:
        tensors = [self._torch.from_numpy(array).to(self._device) for array in case.inputs]
        if case.op == "LocalAvgPool":
            return self._pools(tensors[0], case)
        return {"torchvision.ops.deform_conv2d": self._convolution(tensors, case)}

    def _pools(self, x: Any, case: KernelCase) -> dict[str, Work | str]:
        functional = self._torch.nn.functional
        sides = zip(x.shape[2:], case.attributes["window"], strict=True)
        rows, columns = (min(int(side), int(window)) for side, window in sides)

        def integral_image() -> Any:
            sums = functional.pad(x.float().cumsum(2).cumsum(3), (1, 0, 1, 0))
            below, above = sums[:, :, rows:], sums[:, :, :-rows]
            inside = below[..., columns:] - below[..., :-columns] - above[..., columns:] + above[..., :-columns]
            return _spread(functional, inside / (rows * columns), x).to(x.dtype)

        def avg_pool() -> Any:
            return _spread(functional, functional.avg_pool2d(x, (rows, columns), stride=1), x)

        return {"F.avg_pool2d": avg_pool, "integral image": integral_image}

    def _convolution(self, tensors: list[Any], case: KernelCase) -> Work | str:
        x, offset, mask, weight, *bias = tensors
        names = {"stride": "strides", "padding": "pads", "dilation": "dilations"}
        settings = {name: tuple(case.attributes[ours]) for name, ours in names.items()}

        def convolution() -> Any:
            return ops.deform_conv2d(x, offset, weight, *bias, mask=mask, **settings)

        try:
            # some of its builds have no operators for the installed PyTorch: that shows at the import, or at a call
            ops = require("torchvision.ops", "time another deformable convolution")
            convolution()
        except (MachineError, RuntimeError) as error:
            return str(error).partition("\n")[0]
        return convolution


def _spread(functional: Any, means: Any, x: Any) -> Any:
    """Repeat the outermost means up to the borders, so that the map has its size again."""
    spare = [int(side) - int(inner) for side, inner in zip(x.shape[2:], means.shape[2:], strict=True)]
    top, left = spare[0] // 2, spare[1] // 2
    return functional.pad(means, (left, spare[1] - left, top, spare[0] - top), mode="replicate")


def torch_with_gpu() -> Any:
    """The module ``torch`` where it has a GPU.

    Raises:
        MissingExtraError: It is not installed.
        MachineError: It is built for the CPU, or finds no GPU.
    """
    torch = require("torch", "time kernels against PyTorch")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        reason = f"PyTorch {torch.__version__} finds none" if built else f"PyTorch {torch.__version__} is for CPUs only"
        raise MachineError(
            f"an NVIDIA GPU is needed to time kernels, {reason}; install PyTorch for CUDA (docs/install.md)"
        )
    return torch
