"""Random numbers against those that MLX gives for the same keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
from tests.generators.random_values import calls, record

ULPS = 4
ROUNDED = ("normal", "gumbel", "laplace", "truncated", "uniform_bounds")


@pytest.fixture(scope="module")
def both() -> tuple[dict[str, Any], dict[str, Any]]:
    with np.load(Path(__file__).with_name("recorded.npz")) as file:
        return dict(file), record(mx, np)


def test_everything_recorded_is_compared(both: Any) -> None:
    recorded, ours = both
    assert set(recorded) == set(ours) == {*calls(), "sequence"}


@pytest.mark.parametrize("name", [*calls(), "sequence"])
def test_same_numbers(both: Any, name: str) -> None:
    recorded, ours = both[0][name], both[1][name]
    assert recorded.dtype == ours.dtype and recorded.shape == ours.shape
    if not name.startswith(ROUNDED):
        np.testing.assert_array_equal(ours, recorded)
        return
    # After loc is added the ulp is that of the summands; MLX's own erf is off by 2 ulp.
    floor = {"truncated": 4, "normal_scaled": 2, "normal_multivariate": 4}.get(name, 0)
    unit = np.spacing(np.maximum(np.abs(recorded), floor).astype(recorded.real.dtype))
    assert np.all(np.abs(ours - recorded) <= ULPS * unit), name


def test_seed_restarts_the_sequence() -> None:
    mx.random.seed(3)
    first = mx.random.normal((4,))
    second = mx.random.normal((4,))
    mx.random.seed(3)
    assert mx.array_equal(mx.random.normal((4,)), first)
    assert not mx.array_equal(first, second)


def test_state_can_be_saved_and_restored() -> None:
    saved = mx.random.state[0]
    first = mx.random.uniform(shape=(4,))
    mx.random.state[0] = saved
    assert mx.array_equal(mx.random.uniform(shape=(4,)), first)


def test_bounds_hold() -> None:
    u = np.array(mx.random.uniform(-1, 1, (10_000,), mx.bfloat16).astype(mx.float32))
    assert u.min() >= -1 and u.max() < 1
    t = np.array(mx.random.truncated_normal(-0.5, 0.25, (10_000,)))
    assert t.min() >= -0.5 and t.max() <= 0.25


def test_moments_of_a_correlated_normal() -> None:
    cov = mx.array([[1.0, 0.6], [0.6, 2.0]])
    x = np.array(
        mx.random.multivariate_normal(mx.array([1.0, -1.0]), cov, (20_000,), key=mx.random.key(1))
    )
    np.testing.assert_allclose(x.mean(0), [1, -1], atol=0.05)
    np.testing.assert_allclose(np.cov(x.T), np.array(cov), atol=0.1)


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ValueError, lambda: mx.random.uniform(dtype=mx.int32)),
        (ValueError, lambda: mx.random.normal((2,), mx.int32)),
        (ValueError, lambda: mx.random.normal((2, -1))),
        (ValueError, lambda: mx.random.randint(0, 5, (2,), mx.float32)),
        (ValueError, lambda: mx.random.bernoulli(1, (2,))),
        (ValueError, lambda: mx.random.normal((2,), key=mx.array([1, 2]))),
        (ValueError, lambda: mx.random.uniform(mx.zeros(3), 1, (2,))),
        (ValueError, lambda: mx.random.categorical(mx.zeros(3), shape=(1,), num_samples=2)),
        (IndexError, lambda: mx.random.categorical(mx.zeros(3), 2)),
        (ValueError, lambda: mx.random.permutation(mx.zeros((2, 2)), 3)),
        (TypeError, lambda: mx.random.key(-1)),
        (TypeError, lambda: mx.random.key(1.5)),
    ],
)
def test_bad_input_raises(error: type[Exception], call: Any) -> None:
    with pytest.raises(error, match=r"\[random"):
        call()


def test_randint_without_an_integer_in_range_gives_the_lower_bound() -> None:
    assert mx.random.randint(10, 0, (4,)).tolist() == [10] * 4
    assert mx.random.randint(5, 5, (2,), dtype=mx.uint8).tolist() == [5, 5]
    low, high = mx.array([10, 3]), mx.array([0, 5])
    drawn = mx.random.randint(low, high, (50, 2))
    assert drawn[:, 0].tolist() == [10] * 50 and set(drawn[:, 1].tolist()) <= {3, 4}
