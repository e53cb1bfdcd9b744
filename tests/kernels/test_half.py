"""Conversions of float16, also where the processor has no instruction for them."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

CODE = """
import numpy as np
import mlx.core as mx
from tests.kernels.test_half import edges, every, same

assert same(np.array(mx.array(every()).astype(mx.float32)), every().astype(np.float32))
with np.errstate(over="ignore"):
    assert same(np.array(mx.array(edges()).astype(mx.float16)), edges().astype(np.float16))
print("same")
"""


def every() -> np.ndarray:
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def edges() -> np.ndarray:
    """Every float16, the middle between neighbours, and what is next to both, in float32."""
    finite = np.abs(every()[np.isfinite(every())].astype(np.float32))
    steps = np.array([0, 1, 0xFFF, 0x1000, 0x1001], np.uint32)
    near = (finite[:, None].view(np.uint32) + steps).ravel().view(np.float32)
    small = np.random.default_rng(0).normal(size=10_000).astype(np.float32) * 1e-6
    return np.concatenate([near, -near, small, [np.inf, -np.inf, np.nan, 1e30]]).astype(np.float32)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    bits = np.dtype(f"u{a.itemsize}")
    nan = np.isnan(b)
    return bool((np.isnan(a) == nan).all() and (a[~nan].view(bits) == b[~nan].view(bits)).all())


@pytest.mark.parametrize("level", ["baseline", "avx2", ""])
def test_conversions(level):
    if level and sys.platform != "win32" and os.uname().machine not in ("x86_64", "AMD64"):
        pytest.skip("levels of x86")
    result = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "MLX_ISA": level, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.stdout == "same\n", result.stderr
