"""Random numbers from splittable keys."""

from mlx.ops.random import (
    bernoulli,
    gumbel,
    key,
    laplace,
    normal,
    randint,
    seed,
    split,
    state,
    truncated_normal,
    uniform,
)
from mlx.ops.sampling import categorical, multivariate_normal, permutation

__all__ = [
    "bernoulli",
    "categorical",
    "gumbel",
    "key",
    "laplace",
    "multivariate_normal",
    "normal",
    "permutation",
    "randint",
    "seed",
    "split",
    "state",
    "truncated_normal",
    "uniform",
]
