from __future__ import annotations

from typing import Any

from deblurrt.runtime.prometheus_lines import machine_lines, stream_lines

STREAM: dict[str, Any] = {
    "stream": 'a"b',
    "missed": 3,
    "deadline_miss_rate": 0.01,
    "deblur_coverage": 0.5,
    "effective_coverage": None,
    "lost_before": 0,
    "stalls": 2,
    "stall_s": 3.5,
    "time_to_first_frame_s": 0.25,
    "time_to_first_deblurred_s": None,
    "time_to_recover_s": {"last": 0.5, "worst": 2.0},
    "jitter_ms": {"max": 4.0, "mean": 1.5, "std": None},
    "generator_lateness_ms": None,
    "latency_ms": {"count": 300, "p50": 21.0, "p90": 30.0, "p99": None, "p99.9": None, "max": 45.0},
}


def test_streams_tell_what_is_known_in_base_units() -> None:
    lines = [line for line in stream_lines([STREAM]) if not line.startswith("#")]
    assert lines == [
        'deblurrt_deadline_missed_total{stream="a\\"b"} 3',
        'deblurrt_deadline_miss_ratio{stream="a\\"b"} 0.01',
        'deblurrt_deblur_coverage_ratio{stream="a\\"b"} 0.5',
        'deblurrt_source_lost_frames_total{stream="a\\"b"} 0',
        'deblurrt_source_stalls_total{stream="a\\"b"} 2',
        'deblurrt_source_stall_seconds_total{stream="a\\"b"} 3.5',
        'deblurrt_source_first_frame_seconds{stream="a\\"b"} 0.25',
        'deblurrt_source_recovery_seconds{stream="a\\"b",which="last"} 0.5',
        'deblurrt_source_recovery_seconds{stream="a\\"b",which="worst"} 2',
        'deblurrt_source_jitter_seconds{stream="a\\"b",which="max"} 0.004',
        'deblurrt_source_jitter_seconds{stream="a\\"b",which="mean"} 0.0015',
        'deblurrt_latency_seconds{stream="a\\"b",percentile="p50"} 0.021',
        'deblurrt_latency_seconds{stream="a\\"b",percentile="p90"} 0.03',
        'deblurrt_latency_seconds{stream="a\\"b",percentile="max"} 0.045',
    ]


def test_every_metric_is_declared_once_before_its_values() -> None:
    lines = list(stream_lines([STREAM, STREAM | {"stream": "other"}]))
    declared = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(declared) == len(set(declared)) == 10
    for index, line in enumerate(lines):
        if not line.startswith("#"):
            before = [other for other in lines[:index] if other.startswith("# TYPE")]
            assert before[-1].split()[2] == line.partition("{")[0]


def test_machine_tells_energy_and_heat() -> None:
    thermal = {
        "throttle_events": {"core_throttle_count": 4},
        "end": {
            "temperature_c": 61.5,
            "zone": "cpu",
            "clocks_mhz": {"cpu": 2188.8},
            "throttled": ["GPU 0: sync boost"],
        },
    }
    energy = {"gross": 0.4, "net": None, "rails": {"INA3221 VDD_IN": {"joules": 12.5}}}
    lines = [line for line in machine_lines({"energy_j_per_frame": energy, "thermal": thermal}) if line[0] != "#"]
    assert lines == [
        'deblurrt_energy_joules_total{rail="INA3221 VDD_IN"} 12.5',
        'deblurrt_energy_joules_per_frame{kind="gross"} 0.4',
        'deblurrt_temperature_celsius{zone="cpu"} 61.5',
        'deblurrt_clock_hertz{clock="cpu"} 2.1888e+09',
        'deblurrt_throttle_events_total{counter="core_throttle_count"} 4',
        "deblurrt_throttle_reasons 1",
    ]


def test_machine_that_tells_nothing_has_no_metric_rather_than_zero() -> None:
    energy = {"gross": None, "net": None, "rails": {}, "unavailable": {"RAPL": "no permission"}}
    thermal = {"throttle_events": None, "end": {"temperature_c": None, "clocks_mhz": None, "throttled": None}}
    assert list(machine_lines({"energy_j_per_frame": energy, "thermal": thermal})) == []
    assert list(machine_lines({})) == []
