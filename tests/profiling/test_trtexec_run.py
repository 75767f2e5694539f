"""trtexec's summary, read; lines as its public source and documentation print them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from deblurrt.core.errors import MachineError
from deblurrt.core.gpus import Ran
from deblurrt.profiling import trtexec_run
from deblurrt.profiling.trtexec_run import GpuLatency, command_of, find_trtexec, measure_engine

SUMMARY = """\
[01/01/2026-00:00:00] [I] === Performance summary ===
[01/01/2026-00:00:00] [I] Throughput: 71.25 qps
[01/01/2026-00:00:00] [I] Latency: min = 14.1 ms, max = 15 ms, mean = 14.3 ms, median = 14.2 ms
[01/01/2026-00:00:00] [I] GPU Compute Time: min = 13.5 ms, max = 14.9 ms, mean = 13.8 ms, median = 13.75 ms{rest}
&&&& PASSED TensorRT.trtexec
"""


def answers(status: int, text: str) -> object:
    def run(_command: Sequence[str]) -> Ran:
        return Ran(status, text)

    return run


@pytest.mark.parametrize(
    ("rest", "p99"),
    [
        (", percentile(90%) = 14.0 ms, percentile(95%) = 14.1 ms, percentile(99%) = 14.25 ms", 14.25),
        (", percentile(99%) = 14.25 ms", 14.25),
        ("", None),
    ],
)
def test_gpu_time_is_read_and_not_the_latency_with_copies(rest: str, p99: float | None) -> None:
    found = measure_engine(["trtexec"], answers(0, SUMMARY.format(rest=rest)))  # type: ignore[arg-type]
    assert found == GpuLatency(median=13.75, least=13.5, most=14.9, p99=p99, frames_per_second=71.25)


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (
            1,
            "[I] starting\n[E] Error[1]: plan file does not match\n[I] bye\n",
            "ended with 1 .*plan file does not match",
        ),
        (0, "nothing of time\n", "ended with 0 .*nothing of time"),
        (127, "", "it said nothing"),
    ],
)
def test_failure_names_the_reason_and_the_command(status: int, text: str, said: str) -> None:
    with pytest.raises(MachineError, match=said) as caught:
        measure_engine(["trtexec", "--loadEngine=m.engine"], answers(status, text))  # type: ignore[arg-type]
    assert str(caught.value).endswith("run it by hand: trtexec --loadEngine=m.engine")


def test_tool_that_cannot_be_started_is_told() -> None:
    with pytest.raises(MachineError, match="cannot be started or does not end"):
        measure_engine(["trtexec"], lambda _command: None)


def test_command_leaves_copies_out_on_every_version() -> None:
    command = command_of(Path("trtexec"), Path("m.engine"), (1, 3, 720, 1280, 3), [Path("p.so")])
    assert command[:4] == ["trtexec", "--loadEngine=m.engine", "--shapes=frames:1x3x720x1280x3", "--noDataTransfers"]
    assert command[-1] == "--dynamicPlugins=p.so"


def test_tool_is_found_where_jetpack_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(trtexec_run, "PLACES", (str(tmp_path / "absent"), str(tmp_path / "trtexec")))
    assert find_trtexec() is None
    (tmp_path / "trtexec").touch()
    assert find_trtexec() == tmp_path / "trtexec"
