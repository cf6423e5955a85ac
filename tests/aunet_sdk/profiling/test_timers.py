from __future__ import annotations

import time

import numpy as np
import pytest

from aunet_sdk.profiling import STAGES, LatencyLog, StageTimer, summarise


def test_stages_add_up_and_total_holds_them() -> None:
    timer = StageTimer()
    timer.add("decode", 5.0)
    for _ in range(2):
        with timer.stage("network"):
            time.sleep(0.002)
    with pytest.raises(RuntimeError), timer.stage("find"):
        time.sleep(0.001)
        raise RuntimeError
    ms = timer.stop()
    assert set(ms) == set(STAGES)
    assert ms["decode"] == 5.0 and ms["align"] == 0.0
    assert ms["network"] >= 4.0 and ms["find"] >= 1.0
    assert ms["total"] >= ms["decode"] + ms["network"] + ms["find"]


def test_summary_is_numpys() -> None:
    values = np.random.default_rng(0).exponential(5, 1000)
    log = LatencyLog(capacity=500)
    for value in values:
        log.add({"total": value, "find": 0})
    total = log.summary()["total"]
    last = values[-500:]
    assert total.count == 500
    assert total.mean_ms == pytest.approx(last.mean())
    expected = np.percentile(last, [0, 50, 95, 99, 100])
    got = [total.min_ms, total.median_ms, total.p95_ms, total.p99_ms, total.max_ms]
    assert np.allclose(got, expected)
    with pytest.raises(ValueError, match="at least one"):
        summarise([])
