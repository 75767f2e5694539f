"""Everything of the benchmark but the GPU: a fake clock, and PyTorch on the CPU."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deblurrt.plugins.conformance import Bench
from deblurrt.plugins.conformance_cases import Convolution, KernelCase, pool_case
from deblurrt.plugins.kernel_bench import (
    COPY_BYTES,
    MATRIX_SIDE,
    SIZES,
    WINDOWS,
    Ceiling,
    Work,
    bench_cases,
    flop_of,
    measure_ceiling,
    median_ms,
    time_case,
)
from deblurrt.plugins.local_avg_pool import local_avg_pool
from deblurrt.plugins.torch_rivals import TorchClock, TorchRivals, torch_with_gpu

RNG = np.random.default_rng(0)


class FakeClock:
    """Runs work and says that each run took as long as it is told."""

    stream = 0

    def __init__(self, ms: Callable[[Work], float]) -> None:
        self._ms = ms
        self.runs: list[tuple[int, int]] = []

    def times_ms(self, work: Work, runs: int, calls: int = 1) -> list[float]:
        work()
        self.runs.append((runs, calls))
        # one run that was disturbed: a mean would show it
        return [self._ms(work)] * (runs - 1) + [1e6]


class FakeRivals:
    def copy(self, size: int) -> Work:
        return lambda: size

    def product(self, side: int, dtype: str) -> Work:
        return lambda: (side, dtype)

    def works(self, case: KernelCase) -> dict[str, Work | str]:
        return {"theirs": lambda: None, "absent": "is not installed"}


def pool() -> KernelCase:
    return pool_case("window 3", (1, 2, 10, 20), (3, 3), RNG).typed("float16")


def test_rates_follow_from_median_times(bench: Bench) -> None:
    ceiling = Ceiling(copy_gb_s=1e-3, product_tflop_s={"float16": 1.0})
    timing = time_case(bench, FakeClock(lambda _work: 2.0), FakeRivals(), ceiling, pool())
    # read and written once: 2 * 400 values of 2 bytes in 2 ms
    assert timing.gb_s == pytest.approx(1600 / 2e-3 / 1e9)
    assert timing.of_copy == pytest.approx(timing.gb_s / 1e-3)
    assert (timing.ms, timing.window, timing.size) == (2.0, 3, (10, 20))
    assert timing.tflop_s is timing.of_product is None
    assert timing.workspace_bytes == timing.to_dict()["workspace_bytes"] == 2 * 10 * 20 * 4
    assert timing.rivals_ms == {"theirs": 2.0}
    assert timing.missing == {"absent": "is not installed"}


def test_products_and_sums_of_a_convolution_are_counted(bench: Bench) -> None:
    case = Convolution((4, 6), (5, 7)).case("", RNG).typed("float32")
    ceiling = Ceiling(1.0, {"float32": 2.0})
    timing = time_case(bench, FakeClock(lambda _work: 1.0), FakeRivals(), ceiling, case)
    flop = 2 * (5 * 7) * 6 * 4 * 9
    assert flop_of(case, np.zeros((1, 6, 5, 7))) == flop
    assert timing.tflop_s == pytest.approx(flop / 1e-3 / 1e12)
    assert timing.of_product == pytest.approx(flop / 1e-3 / 1e12 / 2)
    assert timing.window is None


def test_ceilings_are_measured_after_a_warm_up() -> None:
    clock = FakeClock(lambda work: 1.0 if work() == COPY_BYTES else 4.0)
    ceiling = measure_ceiling(clock, FakeRivals(), ["float32", "float16"])
    assert ceiling.copy_gb_s == pytest.approx(2 * COPY_BYTES / 1e-3 / 1e9)
    assert ceiling.product_tflop_s["float16"] == pytest.approx(2 * MATRIX_SIDE**3 / 4e-3 / 1e12)
    assert clock.runs == [(10, 1), (50, 5), *[(10, 1), (50, 2)] * 2]


def test_calls_that_end_at_once_are_timed_many_at_a_time() -> None:
    clock = FakeClock(lambda _work: 1e-6)
    median_ms(clock, lambda: None)
    assert clock.runs == [(10, 1), (50, 1000)]


def test_time_of_a_call_is_its_share_of_what_lies_between_two_events() -> None:
    calls: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            self.when = 0

        def record(self) -> None:
            self.when = len(calls)

        def elapsed_time(self, end: Event) -> int:
            return end.when - self.when

    stream = SimpleNamespace(cuda_stream=7, synchronize=lambda: None)
    cuda = SimpleNamespace(Stream=lambda: stream, stream=lambda _stream: nullcontext(), Event=Event)
    assert TorchClock(SimpleNamespace(cuda=cuda)).times_ms(lambda: calls.append("call"), 3, 4) == [1, 1, 1]
    assert len(calls) == 12


def test_sizes_and_windows_of_the_papers_are_timed() -> None:
    small = [(180, 320), (24, 40)]
    cases = list(bench_cases(RNG, small))
    pools = [case.attributes["window"] for case in cases if case.op == "LocalAvgPool"]
    assert pools == [(48, 48), (96, 96)]
    assert WINDOWS == (48, 96, 384)
    assert SIZES == ((180, 320), (720, 1280))
    convolutions = [case for case in cases if case.op == "ModulatedDeformConv"]
    assert [case.inputs[1].shape for case in convolutions] == [(1, 144, 180, 320), (1, 144, 24, 40)]


@pytest.mark.parametrize("window", [(3, 4), (8, 50)])
def test_pools_of_pytorch_compute_the_same(window: tuple[int, int]) -> None:
    torch: Any = pytest.importorskip("torch")
    case = pool_case("", (1, 2, 9, 21), window, RNG).typed("float32")
    expected = local_avg_pool(case.inputs[0], window)
    for name, work in TorchRivals(torch, "cpu").works(case).items():
        assert callable(work)
        # float32 sums over the map: the integral image is the worst
        assert np.abs(work().numpy() - expected).max() < 1e-5, name


def test_copies_and_products_of_pytorch_run() -> None:
    torch: Any = pytest.importorskip("torch")
    rivals = TorchRivals(torch, "cpu")
    assert rivals.copy(16)().shape == (16,)
    assert rivals.product(4, "float16")().dtype == torch.float16


def test_convolution_of_torchvision_runs_or_says_why_not() -> None:
    torch: Any = pytest.importorskip("torch")
    case = Convolution((4, 6), (5, 7), offset_groups=2).case("", RNG).typed("float32")
    (work,) = TorchRivals(torch, "cpu").works(case).values()
    assert isinstance(work, str) or work().shape == (1, 6, 5, 7)


def test_settings_of_a_convolution_are_those_of_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = pytest.importorskip("torch")
    asked: dict[str, Any] = {}

    def deform_conv2d(x: Any, offset: Any, weight: Any, bias: Any = None, **settings: Any) -> Any:
        asked.update(settings, sides=[tensor.shape for tensor in (x, offset, weight, bias)])

    monkeypatch.setitem(sys.modules, "torchvision.ops", SimpleNamespace(deform_conv2d=deform_conv2d))
    sizes = Convolution((4, 6), (15, 12), (3, 2), strides=(2, 1), pads=(0, 3), dilations=(1, 4), offset_groups=2)
    case = sizes.case("", RNG).typed("float32")
    assert [callable(work) for work in TorchRivals(torch, "cpu").works(case).values()] == [True]
    x, offset, mask, weight, bias = (array.shape for array in case.inputs)
    assert asked.pop("mask").shape == mask
    assert asked == {"stride": (2, 1), "padding": (0, 3), "dilation": (1, 4), "sides": [x, offset, weight, bias]}


def test_torchvision_without_its_operator_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = pytest.importorskip("torch")

    def deform_conv2d(*_: Any, **__: Any) -> Any:
        raise NotImplementedError("Could not run 'torchvision::deform_conv2d' with arguments from CUDA\nand much more")

    monkeypatch.setitem(sys.modules, "torchvision.ops", SimpleNamespace(deform_conv2d=deform_conv2d))
    case = Convolution((4, 6), (5, 7)).case("", RNG).typed("float32")
    reason = "Could not run 'torchvision::deform_conv2d' with arguments from CUDA"
    assert list(TorchRivals(torch, "cpu").works(case).values()) == [reason]


def test_pytorch_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Exception, match="an NVIDIA GPU is needed to time kernels"):
        torch_with_gpu()
