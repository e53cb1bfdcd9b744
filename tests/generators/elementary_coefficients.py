"""Derive the polynomials of ``mlx.backend.llvm.elementary``: run it to rewrite coefficients.py.

Each is the minimax polynomial of a function on an interval under a weight, found by the
Remez exchange algorithm in 60 digits, then rounded coefficient by coefficient.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from mpmath import mp, mpf

mp.dps = 60
OUTPUT = Path(__file__).parents[2] / "src/mlx/backend/llvm/elementary/coefficients.py"
Real = Callable[[mpf], mpf]


def horner(coefficients: Sequence[mpf], x: mpf) -> mpf:
    total = mpf(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def _solve(nodes: Sequence[mpf], values: Sequence[mpf], weights: Sequence[mpf]) -> list[mpf]:
    """Coefficients whose weighted error alternates with one size over the nodes."""
    size = len(nodes)
    matrix = mp.matrix(size, size)
    for i, x in enumerate(nodes):
        for k in range(size - 1):
            matrix[i, k] = x**k
        matrix[i, size - 1] = (-1) ** i / weights[i]
    return list(mp.lu_solve(matrix, mp.matrix(values)))[:-1]


def _extrema(errors: Sequence[mpf], count: int) -> list[int]:
    """Positions of the largest error in each run of one sign, ``count`` of them."""
    best: list[int] = []
    for i, e in enumerate(errors):
        if best and (errors[best[-1]] > 0) == (e > 0):
            if abs(e) > abs(errors[best[-1]]):
                best[-1] = i
        else:
            best.append(i)
    while len(best) > count:
        best.pop(0 if abs(errors[best[0]]) < abs(errors[best[-1]]) else -1)
    return best


def remez(function: Real, weight: Real, low: float, high: float, terms: int) -> tuple[list, mpf]:
    """The minimax polynomial with so many terms, and its largest weighted error."""
    low, high = mpf(low), mpf(high)
    points = 40 * (terms + 2)
    middle, half = (low + high) / 2, (high - low) / 2
    grid = [middle - half * mp.cos(mp.pi * i / points) for i in range(points + 1)]
    values, weights = [function(x) for x in grid], [abs(weight(x)) for x in grid]
    least = max(weights) / 1000
    weights = [max(w, least) for w in weights]
    chosen = [round(i * points / terms) for i in range(terms + 1)]
    for _ in range(30):
        found = _solve(*[[s[i] for i in chosen] for s in (grid, values, weights)])
        errors = [(horner(found, x) - v) * w for x, v, w in zip(grid, values, weights, strict=True)]
        worst = max(map(abs, errors))
        fresh = _extrema(errors, terms + 1)
        if len(fresh) < terms + 1 or fresh == chosen:
            break
        chosen = fresh
    return found, worst


def _safe(function: Real, limit: Real) -> Real:
    """The function, or its limit where it is 0/0."""
    return lambda x: limit(x) if abs(x) < mpf(10) ** -12 else function(x)


def _odd(function: Real, third: mpf) -> Real:
    """P with function(x) = x + x**3 P(x**2), as a function of z = x**2."""

    def inner(z: mpf) -> mpf:
        x = mp.sqrt(z)
        return (function(x) - x) / x**3

    return _safe(inner, lambda z: mpf(third))


def _odd_weight(function: Real) -> Real:
    """Relative error of the function caused by an error of P."""
    return _safe(lambda z: mp.sqrt(z) ** 3 / function(mp.sqrt(z)), lambda z: z)


_log_f = _safe(lambda f: (mp.log(1 + f) - f) / f**2, lambda f: -mpf(1) / 2 + f / 3)
_log_f_weight = _safe(lambda f: f**2 / mp.log(1 + f), lambda f: f)


def _log_s(z: mpf) -> mpf:
    """(log((1+s)/(1-s)) - 2s) / s**3 of z = s**2."""
    s = mp.sqrt(z)
    return (mp.log((1 + s) / (1 - s)) - 2 * s) / s**3


def _log_base(base: int) -> Real:
    return _safe(lambda f: mp.log(1 + f) / f / mp.log(base), lambda f: (1 - f / 2) / mp.log(base))


def _cos(z: mpf) -> mpf:
    return (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2


def _erf_small(z: mpf) -> mpf:
    x = mp.sqrt(z)
    return mp.erf(x) / x - 1


def _erfinv(middle: float) -> Real:
    """erfinv(x) / x of t = w - middle, where w = -log(1 - x**2)."""

    @cache
    def inner(t: mpf) -> mpf:
        w = t + middle
        if w < mpf(10) ** -20:
            return mp.sqrt(mp.pi) / 2
        x = mp.sqrt(-mp.expm1(-w))
        return mp.erfinv(x) / x

    return inner


def _erfinv_square(z: mpf) -> mpf:
    """The same of z = x**2."""
    return _erfinv(0)(-mp.log(1 - z))


def _erfinv_root(middle: float) -> Real:
    """The same of t = sqrt(w) - middle."""
    inner = _erfinv(0)
    return lambda t: inner((t + middle) ** 2)


PI4 = float(mp.pi / 4) * 1.001
SQRT2 = (2**-0.5 - 1, 2**0.5 - 1)
TAN_PI_8 = 0.4143
_EXP = _safe(lambda r: (mp.exp(r) - 1 - r) / r**2, lambda r: mpf(1) / 2 + r / 6)
_EXP_WEIGHT = _safe(lambda r: r**2 / mp.expm1(r), lambda r: r)
_LOG_ERFC = lambda x: mp.log(mp.erfc(x))  # noqa: E731
_ERF_WEIGHT = lambda x: mp.erfc(x) / mp.erf(x)  # noqa: E731

# name: (function, weight, low, high, terms for float, terms for double)
PLAN = {
    "EXP": (_EXP, _EXP_WEIGHT, -0.3475, 0.3475, 5, 10),
    "EXPM1": (_EXP, _EXP_WEIGHT, -0.503, 0.503, 6, 11),
    "LOG": (_log_f, _log_f_weight, *SQRT2, 9, 0),
    "LOG_RATIO": (
        _safe(_log_s, lambda z: mpf(2) / 3),
        lambda z: z / 2,
        0,
        0.02945,
        0,
        7,
    ),
    "LOG2": (_log_base(2), lambda f: 1 / _log_base(2)(f), *SQRT2, 10, 0),
    "LOG2_WIDE": (_log_base(2), lambda f: 1 / _log_base(2)(f), *SQRT2, 0, 13),
    "LOG10": (_log_base(10), lambda f: 1 / _log_base(10)(f), *SQRT2, 10, 0),
    "SIN": (_odd(mp.sin, -mpf(1) / 6), _odd_weight(mp.sin), 0, PI4**2, 3, 6),
    "COS": (_safe(_cos, lambda z: mpf(1) / 24), lambda z: z**2, 0, PI4**2, 3, 6),
    "ATAN": (_odd(mp.atan, -mpf(1) / 3), _odd_weight(mp.atan), 0, TAN_PI_8**2, 5, 11),
    "ASIN": (_odd(mp.asin, mpf(1) / 6), _odd_weight(mp.asin), 0, 0.25, 5, 13),
    "SINH": (_odd(mp.sinh, mpf(1) / 6), _odd_weight(mp.sinh), 0, 1, 4, 7),
    "ERF": (
        _safe(_erf_small, lambda z: 2 / mp.sqrt(mp.pi) - 1),
        lambda z: 1 / (1 + _safe(_erf_small, lambda t: mpf("0.128"))(z)),
        0,
        1,
        0,
        13,
    ),
    "LOG_TAIL": (
        _safe(lambda z: (_log_s(z) - mpf(2) / 3) / z, lambda z: mpf(2) / 5),
        lambda z: z**2 / 2,
        0,
        0.02945,
        0,
        7,
    ),
    "ERFINV_NEAR": (_erfinv_square, lambda z: 1 / _erfinv_square(z), 0, 0.361, 8, 18),
    "ERFINV": (_erfinv(3.25), lambda t: 1 / _erfinv(3.25)(t), -2.81, 3.01, 12, 24),
    "ERFINV_ROOT": (_erfinv_root(3.25), lambda t: 1 / _erfinv_root(3.25)(t), -0.75, 0.9, 10, 22),
    "ERFINV_FAR": (_erfinv_root(5), lambda t: 1 / _erfinv_root(5)(t), -1.0, 1.1, 0, 19),
    "ERFC_WIDE": (_LOG_ERFC, _ERF_WEIGHT, 1, 6, 0, 23),
}


def _round(c: mpf, element: str) -> float:
    return float(np.float32(float(c))) if element == "float" else float(c)


def two_over_pi(parts: int = 4, entries: int = 61) -> list[list[float]]:
    """For each j, 2**(16 j) 2/pi modulo 4 as a sum of doubles (one list a part)."""
    out: list[list[float]] = [[] for _ in range(parts)]
    with mp.workprec(1400):
        for j in range(entries):
            rest = mp.fmod(mpf(2) ** (16 * j) * 2 / mp.pi, 4)
            for part in out:
                part.append(float(rest))
                rest -= part[-1]
    return out


def _packed(numbers: Sequence[float]) -> list[str]:
    """Three numbers a line."""
    texts = [f"{n!r}," for n in numbers]
    return ["        " + " ".join(texts[i : i + 3]) for i in range(0, len(texts), 3)]


def main() -> None:
    wanted = sys.argv[1:]
    lows: list[str] = []
    lines = [
        '"""Minimax polynomials, lowest power first.',
        "",
        "Written by tests/generators/elementary_coefficients.py; the functions are named there.",
        '"""',
        "",
        "# fmt: off",
        "TABLES: dict[tuple[str, str], tuple[float, ...]] = {",
    ]
    for name, (function, weight, low, high, *terms) in PLAN.items():
        if wanted and name not in wanted:
            continue
        for element, count in zip(("float", "double"), terms, strict=True):
            if not count:
                continue
            found, worst = remez(function, weight, low, high, count)
            print(f"{name:10} {element:6} {count:2} terms: 2^{float(mp.log(worst, 2)):.1f}")
            lines.append(f'    ("{name}", "{element}"): (')
            rounded = [_round(c, element) for c in found]
            lines += _packed(rounded)
            lines.append("    ),")
            if name.startswith("ERFINV"):
                # What rounding the first coefficient lost matters there.
                lows.append(f'    ("{name}", "{element}"): {float(found[0] - rounded[0])!r},')
    lines += ["}", "", "LOW: dict[tuple[str, str], float] = {", *lows]
    lines += ["}", "", "TWO_OVER_PI: dict[str, tuple[float, ...]] = {"]
    for i, part in enumerate(two_over_pi()):
        lines.append(f'    "TWO_OVER_PI_{i}": (')
        lines += _packed(part)
        lines.append("    ),")
    lines.append("}")
    if not wanted:
        OUTPUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
