"""Arithmetic notation over IR values: formulas read like formulas.

A :class:`Number` is an operand together with the function under construction; operators
append one plain instruction each (never contracted, never reordered) and Python numbers
become constants of the other operand's type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlx.backend.llvm.elementary.coefficients import TABLES
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import INT_OF, Value, const, element_of, lanes_of

FLOAT, DOUBLE = "float", "double"
MANTISSA = {FLOAT: 23, DOUBLE: 52}
BIAS = {FLOAT: 127, DOUBLE: 1023}
TINY = {FLOAT: 2.0**-126, DOUBLE: 2.0**-1022}
INF = float("inf")
NAN = float("nan")


class Number:
    """An operand of the function ``f``: floats, integers or booleans, a lane or many."""

    __slots__ = ("f", "v")

    def __init__(self, f: Function, v: Value) -> None:
        self.f = f
        self.v = v

    @property
    def element(self) -> str:
        return element_of(self.v.type)

    @property
    def lanes(self) -> int:
        return lanes_of(self.v.type)

    def like(self, x: Any) -> Number:
        """``x``, as a constant of this operand's type if it is a Python number."""
        return x if isinstance(x, Number) else Number(self.f, const(self.v.type, x))

    def _op(self, name: str, x: Any, reverse: bool = False) -> Number:
        a, b = self.v, self.like(x).v
        return Number(self.f, self.f.op(name, *((b, a) if reverse else (a, b))))

    def _arithmetic(self, name: str, x: Any, reverse: bool = False) -> Number:
        return self._op("f" + name if self.element in INT_OF else name, x, reverse)

    def __add__(self, x: Any) -> Number:
        return self._arithmetic("add", x)

    __radd__ = __add__

    def __sub__(self, x: Any) -> Number:
        return self._arithmetic("sub", x)

    def __rsub__(self, x: Any) -> Number:
        return self._arithmetic("sub", x, reverse=True)

    def __mul__(self, x: Any) -> Number:
        return self._arithmetic("mul", x)

    __rmul__ = __mul__

    def __truediv__(self, x: Any) -> Number:
        return self._op("fdiv", x)

    def __rtruediv__(self, x: Any) -> Number:
        return self._op("fdiv", x, reverse=True)

    def __neg__(self) -> Number:
        return Number(self.f, self.f.neg(self.v))

    def __and__(self, x: Any) -> Number:
        return self._op("and", x)

    def __or__(self, x: Any) -> Number:
        return self._op("or", x)

    def __xor__(self, x: Any) -> Number:
        return self._op("xor", x)

    def __lshift__(self, x: int) -> Number:
        return self._op("shl", x)

    def __rshift__(self, x: int) -> Number:
        """Arithmetic shift; see ``logical`` for the other."""
        return self._op("ashr", x)

    def logical(self, shift: int) -> Number:
        return self._op("lshr", shift)

    def _compare(self, ordered: str, integer: str, x: Any) -> Number:
        compare = self.f.fcmp if self.element in INT_OF else self.f.icmp
        predicate = ordered if self.element in INT_OF else integer
        return Number(self.f, compare(predicate, self.v, self.like(x).v))

    def __lt__(self, x: Any) -> Number:
        return self._compare("olt", "slt", x)

    def __le__(self, x: Any) -> Number:
        return self._compare("ole", "sle", x)

    def __gt__(self, x: Any) -> Number:
        return self._compare("ogt", "sgt", x)

    def __ge__(self, x: Any) -> Number:
        return self._compare("oge", "sge", x)

    def equals(self, x: Any) -> Number:
        return self._compare("oeq", "eq", x)

    def is_nan(self) -> Number:
        return Number(self.f, self.f.fcmp("uno", self.v, self.v))

    def cast(self, op: str, element: str) -> Number:
        return Number(self.f, self.f.cast(op, self.v, element))

    def wide(self) -> Number:
        return self.cast("fpext", DOUBLE) if self.element == FLOAT else self

    def narrow(self) -> Number:
        return self.cast("fptrunc", FLOAT)

    def bits(self) -> Number:
        return self.cast("bitcast", INT_OF[self.element])

    def as_float(self, element: str) -> Number:
        return self.cast("bitcast", element)

    def convert(self, element: str) -> Number:
        """A signed integer as a float."""
        return self.cast("sitofp", element)


def intrinsic(name: str, x: Number, *others: Any) -> Number:
    return Number(x.f, x.f.intrinsic(name, x.v, *(x.like(o).v for o in others)))


def fma(a: Any, b: Any, c: Any) -> Number:
    """a * b + c, rounded once."""
    model = next(x for x in (a, b, c) if isinstance(x, Number))
    return intrinsic("fma", model.like(a), b, c)


def sqrt(x: Number) -> Number:
    return intrinsic("sqrt", x)


def fabs(x: Number) -> Number:
    return intrinsic("fabs", x)


def rint(x: Number) -> Number:
    return intrinsic("rint", x)


def trunc(x: Number) -> Number:
    return intrinsic("trunc", x)


def copysign(x: Any, sign: Number) -> Number:
    return intrinsic("copysign", sign.like(x), sign)


def where(condition: Number, a: Any, b: Any) -> Number:
    model = a if isinstance(a, Number) else b
    f = condition.f
    return Number(f, f.select(condition.v, model.like(a).v, model.like(b).v))


def at_least(x: Number, low: float | Number) -> Number:
    """max(x, low); NaN stays (one instruction on x86)."""
    return where(x < low, low, x)


def at_most(x: Number, high: float | Number) -> Number:
    return where(x > high, high, x)


def polynomial(x: Number, coefficients: Sequence[float | Number]) -> Number:
    """Horner's rule, each step fused."""
    total: Any = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = fma(total, x, c)
    return total


def table(name: str, x: Number) -> tuple[float, ...]:
    """The coefficients of a polynomial for this operand's precision."""
    return TABLES[name, x.element]


def two_sum(a: Number, b: Number) -> tuple[Number, Number]:
    """a + b and what its rounding lost (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a: Number, b: Number) -> tuple[Number, Number]:
    """a * b and what its rounding lost."""
    product = a * b
    return product, fma(a, b, -product)


def any_lane(condition: Number) -> Value:
    """Whether a condition holds in some lane, for a branch."""
    f, lanes = condition.f, condition.lanes
    if not lanes:
        return condition.v
    packed = f.bitcast(condition.v, f"i{lanes}")
    return f.icmp("ne", packed, const(packed.type, 0))


def repair(
    condition: Number, values: Sequence[Number], compute: Callable[[], Sequence[Number]]
) -> list[Number]:
    """The values; where the condition holds those of ``compute``, run if some lane needs it."""
    f = condition.f

    def picked() -> list[Value]:
        return [where(condition, new, old).v for new, old in zip(compute(), values, strict=True)]

    old = [value.v for value in values]
    return [Number(f, v) for v in f.changed(any_lane(condition), old, picked)]
