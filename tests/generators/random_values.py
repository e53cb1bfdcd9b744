"""Records random numbers of MLX itself, which ours are tested against.

Run it with an interpreter that has MLX (the CPU build suffices):

    python tests/generators/random_values.py tests/random/recorded.npz
"""

from __future__ import annotations

import sys
from typing import Any

SIZES = (0, 1, 2, 3, 5, 8, 257)


def calls() -> dict[str, str]:
    """Expressions in mx and k, a key, by name."""
    out = {"key": "mx.random.key(2**40 + 7)"}
    for n in SIZES:
        out[f"split_{n}"] = f"mx.random.split(k, {n})"
        out[f"uniform_{n}"] = f"mx.random.uniform(shape=({n},), key=k)"
        out[f"randint_{n}"] = f"mx.random.randint(-5, 1000, ({n},), key=k)"
        out[f"bernoulli_{n}"] = f"mx.random.bernoulli(0.3, ({n},), key=k)"
        out[f"normal_{n}"] = f"mx.random.normal(({n},), key=k)"
        out[f"permutation_{n}"] = f"mx.random.permutation({n}, key=k)"
    shapes = "(4, 7)"
    out |= {
        "uniform_range": f"mx.random.uniform(-3, 5.5, {shapes}, key=k)",
        "uniform_bounds": f"mx.random.uniform(mx.arange(7), mx.arange(7) + 2.5, {shapes}, key=k)",
        "uniform_half": f"mx.random.uniform(-1, 2, {shapes}, mx.float16, key=k)",
        "randint_bytes": f"mx.random.randint(0, 200, {shapes}, mx.uint8, key=k)",
        "bernoulli_array": "mx.random.bernoulli(mx.array([0.1, 0.9]), (3, 2), key=k)",
        "normal_scaled": f"mx.random.normal({shapes}, loc=2.0, scale=3.0, key=k)",
        "normal_half": f"mx.random.normal({shapes}, mx.float16, key=k)",
        "normal_complex": "mx.random.normal((5,), mx.complex64, key=k)",
        "gumbel": f"mx.random.gumbel({shapes}, key=k)",
        "laplace": f"mx.random.laplace({shapes}, loc=1.0, scale=2.0, key=k)",
        "truncated": f"mx.random.truncated_normal(0.5, 2, {shapes}, key=k)",
        "categorical": f"mx.random.categorical(mx.random.normal({shapes}, key=k), key=k)",
        "categorical_axis": f"mx.random.categorical(mx.random.normal({shapes}, key=k), 0, key=k)",
        "categorical_num": (
            f"mx.random.categorical(mx.random.normal({shapes}, key=k), num_samples=3, key=k)"
        ),
        "categorical_shape": (
            f"mx.random.categorical(mx.random.normal({shapes}, key=k), shape=(2, 4), key=k)"
        ),
        "categorical_one": "mx.random.categorical(mx.random.normal((1, 50), key=k), key=k)",
        "categorical_one_num": (
            "mx.random.categorical(mx.random.normal((50,), key=k), num_samples=40, key=k)"
        ),
        "categorical_one_shape": (
            "mx.random.categorical(mx.random.normal((1, 50), key=k), shape=(3, 7), key=k)"
        ),
        "categorical_vector": "mx.random.categorical(mx.random.normal((50,), key=k), key=k)",
        "permutation_rows": "mx.random.permutation(mx.arange(12).reshape(4, 3), key=k)",
        "normal_multivariate": (
            "mx.random.multivariate_normal(mx.array([[1.0, 2.0], [0.0, -1.0]]), "
            "mx.array([[2.0, 0.5], [0.5, 1.0]]), (3, 2), key=k)"
        ),
        "permutation_columns": "mx.random.permutation(mx.arange(12).reshape(4, 3), 1, key=k)",
    }
    return out


def record(mx: Any, np: Any) -> dict[str, Any]:
    """The value of every expression."""
    scope = {"mx": mx, "k": mx.random.key(7)}
    found = {name: np.array(eval(text, scope)) for name, text in calls().items()}
    mx.random.seed(7)
    found["sequence"] = np.stack([np.array(mx.random.uniform(shape=(3,))) for _ in range(3)])
    return found


if __name__ == "__main__":
    import numpy

    import mlx.core

    numpy.savez_compressed(sys.argv[1], **record(mlx.core, numpy))
