"""Errors in units in the last place against mpmath, and where to look for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from mpmath import mp, mpf

PRECISION = 240

UNARY: dict[str, Callable] = {
    "exp": mp.exp,
    "exp2": lambda x: mpf(2) ** x,
    "expm1": mp.expm1,
    "log": mp.log,
    "log2": lambda x: mp.log(x) / mp.log(2),
    "log10": lambda x: mp.log(x) / mp.log(10),
    "log1p": mp.log1p,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "arcsin": mp.asin,
    "arccos": mp.acos,
    "arctan": mp.atan,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "tanh": mp.tanh,
    "arcsinh": mp.asinh,
    "arccosh": mp.acosh,
    "arctanh": mp.atanh,
    "erf": mp.erf,
    "erfinv": mp.erfinv,
    "sqrt": mp.sqrt,
    "rsqrt": lambda x: 1 / mp.sqrt(x),
}
# Functions that are real on part of the line only.
DOMAIN: dict[str, tuple[float, float]] = {
    "log": (0, np.inf),
    "log2": (0, np.inf),
    "log10": (0, np.inf),
    "log1p": (-1, np.inf),
    "arcsin": (-1, 1),
    "arccos": (-1, 1),
    "arccosh": (1, np.inf),
    "arctanh": (-1, 1),
    "erfinv": (-1, 1),
    "sqrt": (0, np.inf),
    "rsqrt": (0, np.inf),
}


def points(dtype: type, count: int, seed: int = 0) -> np.ndarray:
    """Every magnitude alike, where functions change, and next to where formulas change."""
    rng = np.random.default_rng(seed)
    unsigned = np.uint32 if dtype is np.float32 else np.uint64
    top = np.iinfo(unsigned).max
    x = [rng.integers(0, top, count, dtype=unsigned, endpoint=True).view(dtype)]
    for scale in (0.05, 0.5, 1, 2, 8, 30, 100, 750):
        x.append(rng.uniform(-scale, scale, count // 4).astype(dtype))
        x.append((1 + rng.uniform(-scale, scale, count // 8) * 1e-3).astype(dtype))
    edges = np.array(
        [
            0.25,
            0.3466,
            0.41421356,
            0.5,
            0.6,
            0.70710678,
            1,
            1.41421356,
            2.4142135,
            6,
            88.7228,
            103.97,
            709.78,
            745.13,
        ],
        dtype,
    )
    info = np.finfo(dtype)
    far = np.array([info.max, info.tiny, info.smallest_subnormal, 1e5, 1e10, 1e30], dtype)
    near = np.concatenate([edges, np.nextafter(edges, dtype(0)), np.nextafter(edges, dtype(9e9))])
    x += [near, -near, far, -far, np.array([0.0], dtype)]
    x = np.concatenate(x)
    return x[np.isfinite(x)]


def exact(function: Callable, *args: float) -> mpf | None:
    """The true value; None where there is none."""
    with mp.workprec(PRECISION):
        try:
            value = function(*(mpf(float(a)) for a in args))
        except (ValueError, ZeroDivisionError):
            return None
        return None if isinstance(value, mp.mpc) or mp.isnan(value) else value


def ulps(found: float, true: mpf | None, dtype: type) -> float:
    """The error of ``found`` in ulps of the true value; infinite where they differ in kind."""
    if true is None:
        return 0.0 if np.isnan(found) else np.inf
    if np.isnan(found):
        return np.inf
    info = np.finfo(dtype)
    with mp.workprec(PRECISION):
        limit = mpf(float(info.max)) * (1 + mpf(2) ** (-info.nmant - 2))
        if np.isinf(found) or abs(true) > limit:
            same = np.isinf(found) and abs(true) > float(info.max) and (found > 0) == (true > 0)
            return 0.0 if same else np.inf
        exponent = mp.frexp(true)[1] - 1 if true else info.minexp
        unit = mpf(2) ** (max(exponent, int(info.minexp)) - info.nmant)
        return float(abs(mpf(float(found)) - true) / unit)


def worst(
    found: Sequence[float], function: Callable, *args: np.ndarray
) -> tuple[float, tuple[float, ...]]:
    """The largest error and its arguments."""
    dtype = args[0].dtype.type
    most, where = -1.0, ()
    for y, *x in zip(found, *args, strict=True):
        error = ulps(y, exact(function, *x), dtype)
        if error > most:
            most, where = error, tuple(x)
    return most, where
