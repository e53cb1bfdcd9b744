"""Derive the piecewise polynomials of ``mlx.backend.llvm.elementary``: rewrites pieces.py.

Piece i of 16 holds the arguments a >= 0 for which the bits of the float a + offset, shifted
right, end in i.  On each a minimax polynomial (of least relative error) in a - center; the
center is that float near the middle for which the first coefficient is nearly a float, so that
rounding it loses nothing.  A function that is 0 at 0 has a first piece of center and first
coefficient 0; for ``erf`` what is there is erf(a) - a, for rounding a slope above 1 loses much.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpmath import mp, mpf

from tests.generators.elementary_coefficients import Real, horner, remez

OUTPUT = Path(__file__).parents[2] / "src/mlx/backend/llvm/elementary/pieces.py"
PIECES = 16


@dataclass(frozen=True)
class Plan:
    """A function up to ``top``, the offset and shift of its pieces, the terms of each."""

    function: Real
    top: float
    offset: float
    shift: int
    terms: int
    zero: bool


PLAN = {
    "TANH": Plan(mp.tanh, 9.26, 0.625, 21, 6, True),
    "ERF": Plan(mp.erf, 4.01, 0.3125, 21, 6, True),
    "LOG1P": Plan(mp.log1p, 1.0, 0.375, 20, 5, True),
}


def edges(plan: Plan) -> list[tuple[int, float, float]]:
    """(index, low, high) of the pieces that occur; past the top no further."""
    first = int(np.float32(plan.offset).view(np.uint32)) >> plan.shift
    starts = (np.arange(first, first + PIECES + 1, dtype=np.uint32) << plan.shift).view(np.float32)
    out = []
    for i in range(PIECES):
        low = max(float(starts[i]) - plan.offset, 0.0)
        if low <= plan.top:
            high = min(float(starts[i + 1]) - plan.offset, max(plan.top, low + 1e-3))
            out.append(((first + i) % PIECES, low, high))
    return out


def recentered(polynomial: list[mpf], shift: mpf) -> list[mpf]:
    """The coefficients in x - shift of a polynomial in x."""
    count = len(polynomial)
    return [
        sum(polynomial[k] * mp.binomial(k, j) * shift ** (k - j) for k in range(j, count))
        for j in range(count)
    ]


def best_center(polynomial: list[mpf], middle: float) -> tuple[float, list[mpf]]:
    """Of floats near the middle that with the nearest first coefficient to a float."""
    candidate, best = np.float32(middle), (mpf(1), 0.0)
    for _ in range(400):
        offset = mpf(float(candidate)) - mpf(middle)
        value = horner(polynomial, offset)
        best = min(best, (abs(value - float(np.float32(float(value)))), float(candidate)))
        candidate = np.nextafter(candidate, np.float32(9e9), dtype=np.float32)
    return best[1], recentered(polynomial, mpf(best[1]) - mpf(middle))


def piece(plan: Plan, low: float, high: float) -> tuple[list[float], mpf]:
    """Center and coefficients, and the largest relative error."""
    f = plan.function
    if plan.zero and low == 0:
        least = mpf(10) ** -15

        def ratio(a: mpf) -> mpf:
            return f(max(a, least)) / max(a, least)

        found, worst = remez(ratio, lambda a: 1 / ratio(a), 0, high, plan.terms - 1)
        if found[0] > 1.1:
            found[0] -= 1
        return [0.0, 0.0, *map(float, found)], worst
    middle = (low + high) / 2
    found, worst = remez(
        lambda d: f(d + middle),
        lambda d: 1 / f(d + middle),
        low - middle,
        high - middle,
        plan.terms,
    )
    center, moved = best_center(found, middle)
    return [center, *map(float, moved)], worst


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
        for index, low, high in edges(plan):
            rows[:, index], worst = piece(plan, low, high)
            errors.append(worst)
        print(f"{name:10} {len(errors)} pieces: 2^{float(mp.log(max(errors), 2)):.1f}")
        lines.append(f"{name} = Pieces({plan.offset!r}, {plan.shift}, (")
        for row in rows:
            texts = [f"{float(n)!r}," for n in row]
            lines.append("    (")
            lines += ["        " + " ".join(texts[i : i + 3]) for i in range(0, PIECES, 3)]
            lines.append("    ),")
        lines.append("))")
    OUTPUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
