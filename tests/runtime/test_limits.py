"""The machine's limits, and what ``explain`` tells by them."""

from __future__ import annotations

import mlx.core as mx
from mlx.runtime.limits import Limits, limits


def test_limits_are_measured_once():
    found = limits()
    assert found.copy > 1e8 and found.flops > 1e8
    assert limits() is found


def test_share_of_the_nearer_limit():
    machine = Limits(copy=100.0, flops=1000.0)
    assert machine.share(2.0, 100, 0) == 0.5
    assert machine.share(2.0, 100, 1000) == 0.5
    assert machine.share(2.0, 100, 1500) == 0.75
    assert machine.share(0.0, 0, 0) == 0.0


def test_explain_prints_the_share():
    x = mx.ones((64, 64))
    found = mx.explain(lambda x: mx.exp(x @ x).sum(), x)
    assert all(kernel.share > 0 for kernel in found.kernels)
    text = str(found)
    assert "of limit" in text and "the machine:" in text and "%" in text
