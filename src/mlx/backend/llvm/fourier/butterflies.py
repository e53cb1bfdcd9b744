"""Transforms of 2, 3, 4, 5 and 8 numbers, each number a pair of vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import Value, const


@dataclass(frozen=True)
class Pair:
    """Complex numbers: vectors of real and of imaginary parts."""

    f: Function
    re: Value
    im: Value

    def __add__(self, x: Pair) -> Pair:
        return Pair(self.f, self.f.add(self.re, x.re), self.f.add(self.im, x.im))

    def __sub__(self, x: Pair) -> Pair:
        return Pair(self.f, self.f.sub(self.re, x.re), self.f.sub(self.im, x.im))

    def __mul__(self, x: Pair) -> Pair:
        f = self.f
        re = f.fma(self.re, x.re, f.neg(f.mul(self.im, x.im)))
        return Pair(f, re, f.fma(self.re, x.im, f.mul(self.im, x.re)))

    def times(self, number: float) -> Pair:
        c = const(self.re.type, number)
        return Pair(self.f, self.f.mul(self.re, c), self.f.mul(self.im, c))

    def turned(self, inverse: bool) -> Pair:
        """Times -i, or i for the inverse."""
        f = self.f
        if inverse:
            return Pair(f, f.neg(self.im), self.re)
        return Pair(f, self.im, f.neg(self.re))


def _two(x: Sequence[Pair], inverse: bool) -> list[Pair]:
    return [x[0] + x[1], x[0] - x[1]]


def _three(x: Sequence[Pair], inverse: bool) -> list[Pair]:
    total = x[1] + x[2]
    middle = x[0] - total.times(0.5)
    side = (x[1] - x[2]).times(math.sqrt(0.75)).turned(inverse)
    return [x[0] + total, middle + side, middle - side]


def _four(x: Sequence[Pair], inverse: bool) -> list[Pair]:
    a, b = x[0] + x[2], x[0] - x[2]
    c, d = x[1] + x[3], (x[1] - x[3]).turned(inverse)
    return [a + c, b + d, a - c, b - d]


def _five(x: Sequence[Pair], inverse: bool) -> list[Pair]:
    cos = [math.cos(2 * math.pi * k / 5) for k in range(3)]
    sin = [math.sin(2 * math.pi * k / 5) for k in range(3)]
    a, b = x[1] + x[4], x[2] + x[3]
    c, d = (x[1] - x[4]).turned(inverse), (x[2] - x[3]).turned(inverse)
    near = x[0] + a.times(cos[1]) + b.times(cos[2])
    far = x[0] + a.times(cos[2]) + b.times(cos[1])
    near_side = c.times(sin[1]) + d.times(sin[2])
    far_side = c.times(sin[2]) - d.times(sin[1])
    return [x[0] + a + b, near + near_side, far + far_side, far - far_side, near - near_side]


def _eight(x: Sequence[Pair], inverse: bool) -> list[Pair]:
    even, odd = _four(x[0::2], inverse), _four(x[1::2], inverse)
    half = math.sqrt(0.5)
    odd[1] = (odd[1] + odd[1].turned(inverse)).times(half)
    odd[2] = odd[2].turned(inverse)
    odd[3] = (odd[3].turned(inverse) - odd[3]).times(half)
    return [a + b for a, b in zip(even, odd, strict=True)] + [
        a - b for a, b in zip(even, odd, strict=True)
    ]


BUTTERFLIES: dict[int, Callable[[Sequence[Pair], bool], list[Pair]]] = {
    2: _two,
    3: _three,
    4: _four,
    5: _five,
    8: _eight,
}
