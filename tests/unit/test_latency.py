"""Quantiles of a guest's write latency."""

from __future__ import annotations

from drill.bench.latency import WriteLatency, quantiles


def test_quantiles_are_values_that_were_measured() -> None:
    found = quantiles([i / 100 for i in range(100, 0, -1)])
    assert found == WriteLatency(writes=100, median=0.5, p95=0.95, p99=0.99, worst=1.0)


def test_a_single_write_is_every_quantile() -> None:
    assert quantiles([0.25]) == WriteLatency(writes=1, median=0.25, p95=0.25, p99=0.25, worst=0.25)
