"""Random programs under random nestings of transformations."""

from __future__ import annotations

import numpy as np
import pytest

from mlx.base.dtype import float64
from mlx.graph import trace
from mlx.runtime.evaluate import evaluate
from tests.programs.generate import nest, vector
from tests.reference.evaluate import stored, value


@pytest.mark.parametrize("seed", range(120))
def test_nesting(seed: int) -> None:
    """Equal to derivatives taken in the other mode, loops in place of batches, and no
    compilation; in float64 with the reference evaluator."""
    name, used, plain = nest(seed, 1 + seed % 4)
    x = vector(seed, float64)
    got, want = value(used(x)), value(plain(x))
    scale = max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * scale, err_msg=name)
    assert not trace.active()


@pytest.mark.parametrize("seed", range(200, 250))
def test_kernels(seed: int) -> None:
    """Our kernels compute what the reference evaluator computes of the same graph."""
    name, used, _ = nest(seed, seed % 4)
    x = vector(seed, float64)
    node = used(x)._node
    want = value(node)
    evaluate([node])
    scale = max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(stored(node), want, rtol=1e-11, atol=1e-11 * scale, err_msg=name)
