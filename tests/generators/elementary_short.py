"""Derive the polynomials of ``mlx.backend.llvm.elementary.narrow``: rewrites short.py.

They serve float16 and bfloat16: a relative error of 2**-16 rounds as the exact value does but
next to the middle of two numbers.  Pieces are polynomials in the argument itself, for what that
cancels is far below.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mpmath import mp, mpf

from tests.generators.elementary_coefficients import Real, remez

OUTPUT = Path(__file__).parents[2] / "src/mlx/backend/llvm/elementary/short.py"
PIECES = 16


def _quotient(function: Real, limit: float | mpf) -> Real:
    """function(x) / x, and its limit at 0."""
    return lambda x: mpf(limit) if abs(x) < mpf(10) ** -20 else function(x) / x


def _odd(function: Real, limit: float = 1) -> Real:
    """function(x) / x of z = x**2."""
    inner = _quotient(function, limit)
    return lambda z: inner(mp.sqrt(z))


def _erfinv(w: mpf) -> mpf:
    """erfinv(x) / x of w = -log(1 - x**2)."""
    if w < mpf(10) ** -20:
        return mp.sqrt(mp.pi) / 2
    x = mp.sqrt(-mp.expm1(-w))
    return mp.erfinv(x) / x


def _power(r: mpf) -> mpf:
    return mpf(2) ** r - 1


# name: function, its share in the result, low, high, terms
PLAN: dict[str, tuple[Real, Real, float, float, int]] = {
    "EXP2": (_quotient(_power, mp.log(2)), lambda r: r * mpf(2) ** -r, -0.5, 0.5, 4),
    "EXPM1": (
        _quotient(_power, mp.log(2)),
        lambda r: 1 / _quotient(_power, mp.log(2))(r),
        -0.5,
        0.5,
        4,
    ),
    "LOG": (
        _quotient(mp.log1p, 1),
        lambda f: 1 / _quotient(mp.log1p, 1)(f),
        -0.25,
        0.5,
        6,
    ),
    "LOG2": (
        _quotient(lambda f: mp.log1p(f) / mp.log(2), 1 / mp.log(2)),
        lambda f: 1 / _quotient(mp.log1p, 1)(f),
        -0.25,
        0.5,
        8,
    ),
    "SIN": (_odd(mp.sin), lambda z: 1 / _odd(mp.sin)(z), 0, 1.572**2, 4),
    "TAN_SIN": (_odd(mp.sin), lambda z: 1 / _odd(mp.sin)(z), 0, 0.787**2, 3),
    "TAN_COS": (
        lambda z: mp.cos(mp.sqrt(z)),
        lambda z: 1 / mp.cos(mp.sqrt(z)),
        0,
        0.787**2,
        3,
    ),
    "ATAN": (_odd(mp.atan), lambda z: 1 / _odd(mp.atan)(z), 0, 1, 6),
    "ASIN": (_odd(mp.asin), lambda z: 1 / _odd(mp.asin)(z), 0, 0.25, 4),
    "SINH": (_odd(mp.sinh), lambda z: 1 / _odd(mp.sinh)(z), 0, 0.25, 3),
    "ERFINV": (_erfinv, lambda w: 1 / _erfinv(w), 0, 7.0, 8),
}

# name: function (0 at 0), top, offset, shift, terms
PIECE_PLAN: dict[str, tuple[Real, float, float, int, int]] = {
    "TANH": (mp.tanh, 6.26, 0.4375, 21, 4),
    "ERF": (mp.erf, 3.13, 0.21875, 21, 4),
    "LOG1P": (mp.log1p, 1.0, 0.375, 20, 4),
}


def edges(top: float, offset: float, shift: int) -> list[tuple[int, float, float]]:
    """(index, low, high) of the pieces up to the top."""
    first = int(np.float32(offset).view(np.uint32)) >> shift
    starts = (np.arange(first, first + PIECES + 1, dtype=np.uint32) << shift).view(np.float32)
    bounds = [max(float(s) - offset, 0.0) for s in starts]
    return [
        ((first + i) % PIECES, bounds[i], min(bounds[i + 1], max(top, bounds[i] + 1e-3)))
        for i in range(PIECES)
        if bounds[i] <= top
    ]


def _moved(polynomial: list[mpf], shift: mpf) -> list[mpf]:
    """The coefficients in x of a polynomial in x - shift."""
    count = len(polynomial)
    return [
        sum(polynomial[k] * mp.binomial(k, j) * (-shift) ** (k - j) for k in range(j, count))
        for j in range(count)
    ]


def piece(function: Real, low: float, high: float, terms: int) -> tuple[list[mpf], mpf]:
    """Coefficients in the argument, and the largest relative error."""
    if low == 0:
        ratio = _quotient(function, mp.diff(function, 0))
        found, worst = remez(ratio, lambda a: 1 / ratio(a), 0, high, terms - 1)
        return [mpf(0), *found], worst
    middle = (mpf(low) + mpf(high)) / 2
    found, worst = remez(
        lambda d: function(d + middle),
        lambda d: 1 / function(d + middle),
        low - middle,
        high - middle,
        terms,
    )
    return _moved(found, middle), worst


def _packed(numbers: list[float], indent: int) -> list[str]:
    texts = [f"{n!r}," for n in numbers]
    return [" " * indent + " ".join(texts[i : i + 3]) for i in range(0, len(texts), 3)]


def _single(c: mpf) -> float:
    return float(np.float32(float(c)))


def _polynomials() -> list[str]:
    lines = ["SHORT: dict[str, tuple[float, ...]] = {"]
    for name, (function, weight, low, high, terms) in PLAN.items():
        found, worst = remez(function, weight, low, high, terms)
        print(f"{name:8} {terms} terms: 2^{float(mp.log(worst, 2)):.1f}")
        lines += [f'    "{name}": (', *_packed([_single(c) for c in found], 8), "    ),"]
    return [*lines, "}", ""]


def _pieces() -> list[str]:
    lines: list[str] = []
    for name, (function, top, offset, shift, terms) in PIECE_PLAN.items():
        rows = np.zeros((terms, PIECES), np.float32)
        errors = []
        for index, low, high in edges(top, offset, shift):
            found, worst = piece(function, low, high, terms)
            rows[:, index] = [float(c) for c in found]
            errors.append(worst)
        print(f"{name:8} {len(errors)} pieces: 2^{float(mp.log(max(errors), 2)):.1f}")
        lines.append(f"{name} = Pieces({offset!r}, {shift}, (")
        for row in rows:
            lines += ["    (", *_packed([float(n) for n in row], 8), "    ),"]
        lines.append("))")
    return lines


def main() -> None:
    lines = [
        '"""Polynomials for float16 and bfloat16, lowest power first.',
        "",
        "Written by tests/generators/elementary_short.py, which says what they are.",
        '"""',
        "",
        "from mlx.backend.llvm.elementary.pieces import Pieces",
        "",
        "# fmt: off",
        *_polynomials(),
        *_pieces(),
    ]
    OUTPUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
