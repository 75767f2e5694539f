"""The kernels agree with their references; and the kit that says so would say otherwise."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deblurrt.core.tensors import Array
from deblurrt.plugins.conformance import TOLERANCES, Bench, compare, run_group, run_kit
from deblurrt.plugins.conformance_cases import DTYPES, KernelCase, named_cases, random_cases
from deblurrt.plugins.kernel_calls import KERNELS
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
