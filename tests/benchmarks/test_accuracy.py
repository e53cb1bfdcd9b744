"""The sweep over float32 arguments: what it finds, and that it continues."""

import math

import mlx.core as mx
from benchmarks.accuracy import BLOCK, PATTERNS, advance, block, errors, number, table


def test_errors_are_in_ulps_of_the_true_value():
    x = mx.array([1.0, 3.0, math.nan, math.inf], dtype=mx.float32)

    def root(x):
        y = mx.sqrt(x)
        return y * (1 + 2.0**-22) if x.dtype == mx.float32 else y

    found = errors(root, x).tolist()
    assert 1.5 <= found[0] <= 2.5
    assert found[2:] == [0.0, 0.0]
    wrong = errors(lambda x: mx.where(x > 2, math.nan, x) if x.dtype == mx.float32 else x, x)
    assert wrong.tolist()[1] == math.inf


def test_a_sweep_continues_where_it_stopped():
    stride = PATTERNS // BLOCK + 1
    entry = {"stride": stride, "next": PATTERNS - 5 * stride - 1, "ulp": 0.0, "bits": 0}
    advance(entry, "sqrt", stride, until=0.0)
    assert entry["next"] == PATTERNS - 5 * stride - 1  # no time: nothing done
    advance(entry, "sqrt", stride, until=math.inf)
    assert entry["next"] >= PATTERNS
    assert "sqrt" in table({"sqrt": entry})


def test_the_worst_argument_has_the_largest_error():
    first = 0x3F800000
    worst, bits = block("exp", first, 1, 4096)
    x = mx.array(number(bits), dtype=mx.float32)
    assert errors(mx.exp, x).item() == worst
    assert 0.5 <= worst <= 2
