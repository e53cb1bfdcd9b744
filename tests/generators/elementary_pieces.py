"""Derive the piecewise polynomials of ``mlx.backend.llvm.elementary``: rewrites pieces.py.

Piece i of 16 holds the arguments a >= 0 for which the bits of the float a + offset, shifted
right, end in i.  On each a minimax polynomial (of least relative error) in a - center; the
center is a + offset with the bits below the shift replaced by those of the offset, less the
offset.  So the first center is 0, and the offset's low bits, about half a piece, are chosen so
that the first coefficients are nearly floats: rounding them loses little.  A function that is 0
at 0 has a first coefficient 0 there; for ``erf`` what is there is erf(a) - a, for rounding a
slope above 1 loses much.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpmath import mp, mpf

from tests.generators.elementary_coefficients import Real, remez

OUTPUT = Path(__file__).parents[2] / "src/mlx/backend/llvm/elementary/pieces.py"
PIECES = 16
SPAN = 3
"""Low bits are tried up to this part of half a piece away from half a piece."""
FAST: dict[Real, Callable[[float], float]] = {
    mp.tanh: math.tanh,
    mp.erf: math.erf,
    mp.log1p: math.log1p,
}


@dataclass(frozen=True)
class Plan:
    """A function up to ``top``, where s = a + offset begins, the shift of its pieces, the terms."""

    function: Real
    top: float
    start: float
    shift: int
    terms: int
    zero: bool


PLAN = {
    "TANH": Plan(mp.tanh, 9.26, 0.625, 21, 6, True),
    "ERF": Plan(mp.erf, 4.01, 0.3125, 21, 6, True),
    "LOG1P": Plan(mp.log1p, 1.0, 0.375, 20, 5, True),
}


def starts(plan: Plan) -> np.ndarray:
    """The bits of s from which on each piece holds, and the end of the last."""
    first = int(np.float32(plan.start).view(np.uint32))
    return first + (np.arange(PIECES + 1, dtype=np.uint32) << plan.shift)


def edges(plan: Plan, offset: float) -> list[tuple[int, float, float]]:
    """(place, low, high) of the pieces that occur; past the top no further."""
    ends = starts(plan).view(np.float32)
    out = []
    for i in range(PIECES):
        low = max(float(ends[i]) - offset, 0.0)
        if low <= plan.top:
            out.append((i, low, min(float(ends[i + 1]) - offset, max(plan.top, low + 1e-3))))
    return out


def center(plan: Plan, place: int, low_bits: np.ndarray) -> np.ndarray:
    """The center of a piece, for offsets of these low bits."""
    first, own = (starts(plan)[i] | low_bits for i in (0, place))
    return own.view(np.float32) - first.view(np.float32)


def recentered(polynomial: list[mpf], shift: mpf) -> list[mpf]:
    """The coefficients in x - shift of a polynomial in x."""
    count = len(polynomial)
    return [
        sum(polynomial[k] * mp.binomial(k, j) * shift ** (k - j) for k in range(j, count))
        for j in range(count)
    ]


def piece(plan: Plan, low: float, high: float, center: float) -> tuple[list[float], mpf]:
    """The coefficients, and the largest relative error."""
    f = plan.function
    if plan.zero and low == 0:
        least = mpf(10) ** -15

        def ratio(a: mpf) -> mpf:
            return f(max(a, least)) / max(a, least)

        found, worst = remez(ratio, lambda a: 1 / ratio(a), 0, high, plan.terms - 1)
        if found[0] > 1.1:
            found[0] -= 1
        return [0.0, *map(float, found)], worst
    middle = (low + high) / 2
    found, worst = remez(
        lambda d: f(d + middle),
        lambda d: 1 / f(d + middle),
        low - middle,
        high - middle,
        plan.terms,
    )
    return list(map(float, recentered(found, mpf(center) - mpf(middle)))), worst


def best_offset(plan: Plan) -> float:
    """That for which rounding a function's value at the centers adds least to the worst error.

    What is reached at the top is to be rounded correctly: it stays beyond.
    """
    half = 1 << (plan.shift - 1)
    bits = np.arange(half - half // SPAN, half + half // SPAN, dtype=np.uint32)
    function = np.vectorize(FAST[plan.function], otypes=[np.float64])
    worst = np.zeros(bits.size)
    middle = float((starts(plan)[0] | np.uint32(half)).view(np.float32))
    for place, low, high in edges(plan, middle)[1:]:
        _, error = piece(plan, low, high, (low + high) / 2)
        value = function(center(plan, place, bits).astype(np.float64))
        rounded = value.astype(np.float32)
        ulp = np.spacing(np.float32(float(plan.function(low))))  # the least in the piece
        worst = np.maximum(worst, np.abs(value - rounded) / ulp + float(error) * value / ulp)
    top = float(plan.function(plan.top))
    at_top = np.abs(rounded - value + top - float(np.float32(top))) + float(error) * value
    worst[at_top > 0.45 * np.spacing(np.float32(top - 1e-4))] = np.inf
    best = int(np.argmin(worst))
    print(f"errors before the last rounding up to {worst[best]:.2f} ulp")
    return float((starts(plan)[0] | bits[best]).view(np.float32))


def main() -> None:
    lines = [
        '"""Piecewise polynomials for floats: centers, then coefficients, lowest power first.',
        "",
        "Written by tests/generators/elementary_pieces.py, which says what the pieces are.",
        '"""',
        "",
        "from typing import NamedTuple",
        "",
        "",
        "class Pieces(NamedTuple):",
        '    """``rows`` holds an entry a piece: of the centers, then of each coefficient."""',
        "",
        "    offset: float",
        "    shift: int",
        "    rows: tuple[tuple[float, ...], ...]",
        "",
        "",
        "# fmt: off",
    ]
    for name, plan in PLAN.items():
        rows = np.zeros((plan.terms + 1, PIECES), np.float32)
        errors = []
        offset = best_offset(plan)
        low_bits = np.array([offset], np.float32).view(np.uint32) & ((1 << plan.shift) - 1)
        first = int(starts(plan)[0]) >> plan.shift
        for place, low, high in edges(plan, offset):
            middle = float(center(plan, place, low_bits)[0])
            found, worst = piece(plan, low, high, middle)
            rows[:, (first + place) % PIECES] = [middle, *found]
            errors.append(worst)
        print(f"{name:10} {len(errors)} pieces: 2^{float(mp.log(max(errors), 2)):.1f}")
        lines.append(f"{name} = Pieces({offset!r}, {plan.shift}, (")
        for row in rows:
            texts = [f"{float(n)!r}," for n in row]
            lines.append("    (")
            lines += ["        " + " ".join(texts[i : i + 3]) for i in range(0, PIECES, 3)]
            lines.append("    ),")
        lines.append("))")
    OUTPUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
