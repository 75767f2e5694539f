"""The kernels agree with their references; and the kit that says so would say otherwise."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.errors import MachineError
from deblurrt.core.tensors import Array
from deblurrt.plugins import conformance_checks
from deblurrt.plugins.conformance import TOLERANCES, Bench, Finding, compare, run_group, run_kit
from deblurrt.plugins.conformance_cases import DTYPES, KernelCase, named_cases, random_cases
from deblurrt.plugins.kernel_calls import KERNELS, KernelCall
from deblurrt.plugins.kernel_library import KernelLibrary
from deblurrt.plugins.kernel_memory import HostMemory, taken

RANDOM_CASES = 500
SEED = 7


@pytest.mark.parametrize("op", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_random_configurations_agree(bench: Bench, op: str, dtype: str) -> None:
    finding = run_group(bench, random_cases(op, RANDOM_CASES, SEED), "random", dtype)
    assert finding.failures == ()
    assert finding.cases == RANDOM_CASES
    assert finding.error is not None
    assert 0 < finding.error <= TOLERANCES[op, dtype]


def test_kit_finds_nothing(bench: Bench) -> None:
    findings = list(run_kit(bench, 2, SEED))
    assert [finding for finding in findings if finding.failures] == []
    assert {finding.skipped for finding in findings} - {""} == {
        "works without a workspace",
        "the CPU has no graphs",
    }


@pytest.mark.parametrize("op", KERNELS)
def test_named_cases_have_names_of_their_own(op: str) -> None:
    names = [case.name for case in named_cases(op, SEED)]
    assert len(names) == len(set(names)) > 10


@pytest.mark.parametrize("op", KERNELS)
def test_random_cases_are_those_of_their_seed(op: str) -> None:
    one, same, other = (next(iter(random_cases(op, 1, seed))).inputs[0] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_error_is_relative_to_the_largest_value_and_at_least_to_one() -> None:
    assert compare(np.array([0.5, 0.25], np.float32), np.array([0.25, 0.25])) == (0.25, "")
    assert compare(np.array([8, 5], np.float32), np.array([8.0, 4.0])) == (0.125, "")


@pytest.mark.parametrize("result", [[1, 2], [np.inf, 2], [np.nan, np.nan]])
def test_nan_must_be_where_the_reference_has_it(result: list[float]) -> None:
    assert compare(np.array(result, np.float32), np.array([np.nan, 2]))[1] != ""


def test_overflow_of_half_precision_is_expected() -> None:
    assert compare(np.array([np.inf, 1], np.float16), np.array([1e6, 1])) == (0.0, "")


@pytest.mark.parametrize("result", [-np.inf, np.inf])
def test_infinity_of_the_wrong_sign_is_found(result: float) -> None:
    assert (compare(np.array([result, 1], np.float32), np.array([np.inf, 1]))[1] == "") == (result > 0)


class Failing(Bench):
    """A bench whose device fails at a case, and at every check."""

    def run(self, case: KernelCase, skew: int = 0) -> tuple[Array, str]:
        if case.name != "random":
            raise MachineError("cudaDeviceSynchronize gives cudaErrorIllegalAddress")
        return super().run(case, skew)


def test_failing_device_is_a_failure_of_its_case_and_ends_the_kit(bench: Bench) -> None:
    random, failed = run_kit(Failing(bench.kernels, bench.memory), 2, SEED)
    assert (random.failures, random.cases) == ((), 2)
    assert (failed.name, failed.cases, failed.error) == ("one pixel", 1, 0.0)
    assert "cudaErrorIllegalAddress; nothing can run after that" in failed.failures[0]


def test_failing_device_is_a_failure_of_its_check_and_ends_the_kit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Finding:
        raise MachineError("cudaErrorIllegalAddress")

    monkeypatch.setattr(conformance_checks, "CHECKS", {"streams": fail, "never": fail})
    last = list(run_kit(bench, 1, SEED))[-1]
    assert (last.op, last.dtype, last.name) == ("LocalAvgPool", "float32", "streams")
    assert last.failures == ("cudaErrorIllegalAddress; nothing can run after that",)


class Writing(KernelLibrary):
    """Refuses a small workspace, and writes to one of its two arrays nevertheless."""

    def __init__(self, kernels: KernelLibrary, place: int) -> None:
        super().__init__(kernels.library)
        self._place = place

    def start(
        self, call: KernelCall, inputs: Sequence[int], output: int, workspace: tuple[int, int] = (0, 0), stream: int = 0
    ) -> int:
        ctypes.memset((output, workspace[0])[self._place], 1, 1)
        return super().start(call, inputs, output, workspace, stream)


@pytest.mark.parametrize(("place", "what"), [(0, "result"), (1, "workspace")])
def test_writing_with_too_small_a_workspace_is_found(bench: Bench, place: int, what: str) -> None:
    writing = Bench(Writing(bench.kernels, place), bench.memory)
    finding = conformance_checks.small_workspace(writing, "", "LocalAvgPool", "float32", SEED)
    assert finding.failures == (f"the {what} was written to",)
    assert conformance_checks.small_workspace(bench, "", "LocalAvgPool", "float32", SEED).failures == ()


class Spoiled(Bench):
    """A bench whose results are off by a little."""

    def run(self, case: KernelCase, skew: int = 0) -> tuple[Array, str]:
        result, trouble = super().run(case, skew)
        return result * np.float32(1 + 1e-5), trouble


def test_wrong_results_are_found(bench: Bench) -> None:
    finding = run_group(Spoiled(bench.kernels, bench.memory), random_cases("LocalAvgPool", 3, SEED), "x", "float32")
    assert len(finding.failures) == 3
    assert "window" in finding.failures[0]


def test_writing_beside_an_array_is_found() -> None:
    memory = HostMemory()
    placed = memory.place(np.arange(5, dtype=np.float32), skew=4)
    array, is_whole = taken(memory, placed)
    assert is_whole
    assert array.tolist() == [0, 1, 2, 3, 4]
    placed.owner[-1] = 0
    assert not taken(memory, placed)[1]


def test_refused_call_is_a_failure(bench: Bench) -> None:
    case = next(iter(random_cases("LocalAvgPool", 1, SEED)))
    wrong = replace(case, attributes={"window": (1 << 31, 1)})
    assert "code -1" in run_group(bench, [wrong.typed("float32")], "x", "float32").failures[0]


def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++ here to compile the kernels with")
    command = [sys.executable, "-c", "from deblurrt.cli.main import main; main()", "plugins", "test", "--sanitize"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [*command, "--cases", "10"], capture_output=True, text=True, check=False, env=environment, cwd="/"
    )
    assert "install the package libasan" in done.stderr or done.returncode == 0, done.stderr[-3000:]
