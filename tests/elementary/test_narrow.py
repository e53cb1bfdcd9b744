"""Functions of all float16 and bfloat16 numbers, before their results are rounded to these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import special

from mlx.backend.llvm.elementary import NARROW
from tests.elementary.evaluate import apply

LIMIT = 0.05
"""Of an ulp of the narrow dtype, before rounding."""


def _sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)


TRUE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": _sigmoid,
    "erf": special.erf,
    "erfinv": special.erfinv,
}
TRUE |= {
    name: getattr(np, name) for name in NARROW if name not in (*TRUE, "pow", "arctan2", "logaddexp")
}
PAIRS = {"pow": np.power, "arctan2": np.arctan2, "logaddexp": np.logaddexp}


@dataclass(frozen=True)
class Format:
    """Bits behind the point, exponent of the smallest normal number, what rounds to infinity."""

    bits: int
    least: int
    end: float

    def all(self) -> np.ndarray:
        """Every number, as float32."""
        bits = np.arange(1 << 16, dtype=np.uint32)
        if self.bits == 7:
            return (bits << 16).view(np.float32)
        return bits.astype(np.uint16).view(np.float16).astype(np.float32)

    def check(self, found: np.ndarray, true: np.ndarray, x: np.ndarray) -> None:
        finite = np.abs(true) < self.end
        assert np.array_equal(np.isnan(found), np.isnan(true))
        beyond = ~finite & ~np.isnan(true)
        assert np.all(found[beyond] * np.sign(true[beyond]) >= self.end)
        exponent = np.frexp(np.where(finite, true, 1.0))[1] - 1.0
        unit = np.ldexp(1.0, (np.maximum(exponent, self.least) - self.bits).astype(int))
        error = np.where(finite, np.abs(found - true) / unit, 0)
        # What is below half of the smallest number is 0 in any case.
        error[np.abs(true) < 0.45 * np.ldexp(1.0, self.least - self.bits)] = 0
        worst = int(np.nanargmax(error))
        assert error[worst] < LIMIT, (x[..., worst], found[worst], true[worst], error[worst])


FORMATS = {"float16": Format(10, -14, 65520.0), "bfloat16": Format(7, -126, 2.0**128 - 2.0**119)}


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("name", TRUE)
def test_every_number(name: str, dtype: str) -> None:
    x = FORMATS[dtype].all()
    with np.errstate(all="ignore"):
        true = TRUE[name](x.astype(np.float64))
        FORMATS[dtype].check(apply(NARROW[name], x)[0].astype(np.float64), true, x)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name: str, dtype: str) -> None:
    rng = np.random.default_rng(3)
    numbers = FORMATS[dtype].all()
    near = numbers[(np.abs(numbers) > 2.0**-7) & (np.abs(numbers) < 2.0**6)]
    halves = [np.concatenate([rng.choice(s, 40_000) for s in (numbers, near)]) for _ in "ab"]
    special_numbers = np.array([0.0, -0.0, 1, -1, 2, -3, 0.5, np.inf, -np.inf, np.nan], np.float32)
    grid = np.meshgrid(special_numbers, special_numbers)
    x, y = (np.concatenate([h, g.ravel()]) for h, g in zip(halves, grid, strict=True))
    with np.errstate(all="ignore"):
        true = PAIRS[name](x.astype(np.float64), y.astype(np.float64))
        found = apply(NARROW[name], x, y)[0].astype(np.float64)
        if name == "logaddexp":  # accurate relative to the larger operand, which may cancel
            keep = ~(np.abs(true) < np.maximum(np.abs(x), np.abs(y)) / 8)
            x, y, true, found = x[keep], y[keep], true[keep], found[keep]
        FORMATS[dtype].check(found, true, np.stack([x, y]))


@pytest.mark.parametrize("name", TRUE)
def test_bits_do_not_depend_on_the_number_of_lanes(name: str) -> None:
    for form in FORMATS.values():
        x = form.all()
        (wide,), (short,) = apply(NARROW[name], x, lanes=32), apply(NARROW[name], x, lanes=2)
        assert np.array_equal(wide.view(np.uint32), short.view(np.uint32))
