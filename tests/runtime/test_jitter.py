from __future__ import annotations

import numpy as np
import pytest

from deblurrt.runtime.jitter import Jitter

MS = 1_000_000


def test_jitter_is_that_of_ros2_benchmark() -> None:
    """``numpy.abs(numpy.diff(numpy.diff(times)))`` with max, mean and std, as its calculator has them."""
    times_ms = np.cumsum(np.random.default_rng(0).uniform(20, 60, 500).round(3))
    jitter = Jitter()
    for time_ms in times_ms:
        jitter.add(round(time_ms * MS), 0)
    expected = np.abs(np.diff(np.diff(times_ms)))
    assert jitter.to_dict() == {
        "max": pytest.approx(expected.max(), abs=2e-3),
        "mean": pytest.approx(expected.mean(), abs=2e-3),
        "std": pytest.approx(expected.std(), abs=2e-3),
    }


def test_regular_frames_have_no_jitter_and_two_frames_none_known() -> None:
    jitter = Jitter()
    for seq in range(2):
        jitter.add(seq * 40 * MS, 0)
    assert jitter.to_dict() == {"max": None, "mean": None, "std": None}
    jitter.add(80 * MS, 0)
    assert jitter.to_dict() == {"max": 0, "mean": 0, "std": 0}


def test_time_between_epochs_is_no_jitter() -> None:
    jitter = Jitter()
    for time_ms, epoch in ((0, 0), (40, 0), (80, 0), (9000, 1), (9040, 1), (9090, 1)):
        jitter.add(time_ms * MS, epoch)
    assert jitter.to_dict()["max"] == 10
