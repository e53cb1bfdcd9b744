"""Elementary functions: ns an element from the L1 cache, against NumPy, and the largest error.

    python benchmarks/elementary.py           the table
    python benchmarks/elementary.py exp       of exp alone

The error is in ulps, over a sample, against NumPy's long double (float32: double); see
``benchmarks.accuracy`` for all float32 arguments.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import scipy.special

from mlx.backend.llvm.elementary import TABLE
from tests.elementary.accuracy import DOMAIN
from tests.elementary.evaluate import apply, kernel

ELEMENTS = 2048
ONLY_DOUBLE = {"erf": scipy.special.erf, "erfinv": scipy.special.erfinv}
REFERENCE: dict[str, Callable] = {
    **{n: getattr(np, n) for n in TABLE if hasattr(np, n)},
    **ONLY_DOUBLE,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "rsqrt": lambda x: 1 / np.sqrt(x),
}
RANGE = {"arcsin": (-1, 1), "arccos": (-1, 1), "arctanh": (-1, 1), "erfinv": (-1, 1),
         "arccosh": (1, 20), "log1p": (-1, 20), "pow": (0.1, 10)}  # fmt: skip
BINARY = ("arctan2", "pow", "fmod", "logaddexp")


def errors(y: np.ndarray, true: np.ndarray) -> np.ndarray:
    """In ulps; zero where the results are equal once rounded."""
    dtype = y.dtype.type
    rounded = true.astype(dtype)
    unit = np.spacing(np.abs(rounded)).astype(true.dtype)
    out = np.abs(y.astype(true.dtype) - true) / unit
    same = (y == rounded) | (np.isnan(y) & np.isnan(rounded))
    out[same & ~np.isfinite(out)] = 0
    out[~same & ~np.isfinite(out)] = np.inf
    return out


def truth(name: str, *args: np.ndarray) -> np.ndarray:
    wide = np.float64 if name in ONLY_DOUBLE or args[0].dtype == np.float32 else np.longdouble
    return REFERENCE[name](*(a.astype(wide) for a in args))


def sample(name: str, dtype: type, count: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    low, high = RANGE.get(name, (1e-3, 20) if DOMAIN.get(name) else (-10, 10))
    x = rng.uniform(low, high, count).astype(dtype)
    return (x, rng.uniform(-10, 10, count).astype(dtype)) if name in BINARY else (x,)


def nanoseconds(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(15):
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        times.append((time.perf_counter() - start) / repeats)
    return statistics.median(sorted(times)[:8]) * 1e9


def measure(name: str, dtype: type) -> str:
    args = sample(name, dtype, ELEMENTS)
    out = np.empty(ELEMENTS, dtype)
    element = "float" if dtype is np.float32 else "double"
    start = time.perf_counter()
    _, run = kernel(TABLE[name], element, len(args), 1, 32 if dtype is np.float32 else 16)
    compiled = (time.perf_counter() - start) * 1e3
    pointers = [a.ctypes.data for a in (*args, out)]
    ours = nanoseconds(lambda: run(ELEMENTS, *pointers), 20) / ELEMENTS
    theirs = nanoseconds(lambda: REFERENCE[name](*args), 5) / ELEMENTS
    many = sample(name, dtype, 200_000)
    worst = float(np.max(errors(apply(TABLE[name], *many)[0], truth(name, *many))))
    return (
        f"{name:10} {dtype.__name__:8} {ours:8.3f} {theirs:8.3f} {theirs / ours:7.1f}"
        f" {worst:8.2f} {compiled:8.1f}"
    )


def main() -> None:
    print(f"{'':10} {'':8} {'ns':>8} {'NumPy':>8} {'ratio':>7} {'ulp':>8} {'compile':>8} ms")
    with np.errstate(all="ignore"):
        for name in sys.argv[1:] or TABLE:
            for dtype in (np.float32, np.float64):
                print(measure(name, dtype), flush=True)


if __name__ == "__main__":
    main()
