"""AVX2 code gives the bits of AVX-512 code."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest

from mlx.backend.llvm.elementary import COMPLEX, TABLE
from mlx.backend.llvm.target import host
from tests.elementary.accuracy import points
from tests.elementary.evaluate import apply

BINARY = ("arctan2", "pow", "fmod", "logaddexp")
CODE = "from tests.elementary.test_bits import digests; print('\\n'.join(digests()))"


def _digest(label: str, outputs: list[np.ndarray]) -> str:
    """NaN counts as one value: its payload is never promised."""
    text = sha256()
    for y in outputs:
        text.update(np.where(np.isnan(y), y.dtype.type(np.nan), y).tobytes())
    return f"{label} {text.hexdigest()[:16]}"


def digests() -> list[str]:
    """A line for each function and dtype: a digest of its results on the same arguments."""
    out = []
    for dtype in (np.float32, np.float64):
        x = points(dtype, 20000, seed=11)
        y = np.random.default_rng(1).permutation(x)
        for name, function in TABLE.items():
            args = (x, y) if name in BINARY else (x,)
            out.append(_digest(f"{name} {dtype.__name__}", apply(function, *args)))
    x = points(np.float32, 2000, seed=12)
    parts = [np.random.default_rng(i).permutation(x) for i in range(4)]
    for name, function in COMPLEX.items():
        args = parts if name in ("pow", "div", "logaddexp") else parts[:2]
        found = apply(function, *args, outputs=1 if name == "abs" else 2)
        out.append(_digest(f"complex {name}", found))
    return out


@pytest.mark.skipif(not host().avx512, reason="the machine has no AVX-512")
def test_avx2_code_gives_the_same_bits() -> None:
    run = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "MLX_ISA": "avx2", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == digests()
