"""Sizes that are not known yet: arithmetic on them is written down, decisions become guards.

Planning a region with a ``Size`` in place of each size that changes from run to run gives the
plan for *all* sizes that take the same decisions: what is computed of sizes is kept as an
expression (see ``recipe``), and every comparison that planning branched on as a guard.  Whatever
needs a plain integer (an index, a range, a text) gets the present one, guarded: a plan can be
too special, but not wrong.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

UNBOUNDED = -(1 << 80)
_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Number = Any
"""An int or a Size."""


class Size:
    """An integer of a trace: its present value, and how it follows from the variables.

    It is ``factor`` times the product of ``atoms``: variables, and results of operations
    other than products.  It is known to be at least ``low``.  ``text`` computes it from
    ``inputs``; ``of`` is the Recipe that it belongs to.
    """

    __slots__ = ("atoms", "factor", "inputs", "low", "name", "of", "text", "value")

    def __init__(self, of: Any, text: str, inputs: tuple[Size, ...], value: int, low: int) -> None:
        self.of = of
        self.text = text
        self.inputs = inputs
        self.value = value
        self.low = low
        self.name = f"n{len(of.sizes)}"
        self.factor = 1
        self.atoms: tuple[str, ...] = (self.name,)
        of.sizes[self.name] = self

    # -- arithmetic --------------------------------------------------------------------

    def __mul__(self, other: Number) -> Number:
        return _product(self, other)

    __rmul__ = __mul__

    def __add__(self, other: Number) -> Number:
        return _sum(self, other)

    __radd__ = __add__

    def __neg__(self) -> Number:
        return _product(self, -1)

    def __sub__(self, other: Number) -> Number:
        return _difference(self, other)

    def __rsub__(self, other: Number) -> Number:
        return _sum(_product(self, -1), other)

    def __floordiv__(self, other: Number) -> Number:
        return _quotient(self, other)

    def __rfloordiv__(self, other: int) -> Number:
        return _quotient(other, self)

    def __mod__(self, other: Number) -> Number:
        return _remainder(self, other)

    def __rmod__(self, other: int) -> Number:
        return _remainder(other, self)

    def __divmod__(self, other: Number) -> tuple[Number, Number]:
        return self // other, self % other

    def __lshift__(self, other: int) -> Number:
        return self * (1 << other)

    def __rlshift__(self, other: int) -> int:
        return other << self.__index__()

    def __rshift__(self, other: int) -> Number:
        return self // (1 << other)

    def __and__(self, other: int) -> int:
        return self.__index__() & other

    __rand__ = __and__

    def __or__(self, other: int) -> int:
        return self.__index__() | other

    __ror__ = __or__

    def __pow__(self, other: int) -> int:
        return int(self.__index__() ** other)

    def __rdivmod__(self, other: int) -> tuple[Number, Number]:
        return other // self, other % self

    def __truediv__(self, other: Number) -> float:
        return self.__index__() / other

    def __rtruediv__(self, other: Number) -> float:
        return other / self.__index__()

    def __abs__(self) -> Number:
        return self if self >= 0 else -self

    def bit_length(self) -> Number:
        """As of an int."""
        if not self.of.is_open:
            return self.value.bit_length()
        return self.of.made(f"{self.name}.bit_length()", (self,), self.value.bit_length(), 0)

    # -- decisions ---------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return self is other or _compared("==", self, other)

    def __ne__(self, other: object) -> bool:
        return self is not other and _compared("!=", self, other)

    def __lt__(self, other: Number) -> bool:
        return _compared("<", self, other)

    def __le__(self, other: Number) -> bool:
        return _compared("<=", self, other)

    def __gt__(self, other: Number) -> bool:
        return _compared(">", self, other)

    def __ge__(self, other: Number) -> bool:
        return _compared(">=", self, other)

    def __bool__(self) -> bool:
        return _compared("!=", self, 0)

    def __hash__(self) -> int:
        if self.of.is_open:
            self.of.hashed[self.name] = self
        return hash(self.value)

    def __index__(self) -> int:
        if self.of.is_open:
            self.of.guard("==", self, self.value, True)
        return self.value

    __int__ = __index__

    def __float__(self) -> float:
        return float(self.__index__())

    def __str__(self) -> str:
        return str(self.__index__())

    def __format__(self, spec: str) -> str:
        return format(self.__index__(), spec)

    def __repr__(self) -> str:
        return repr(self.__index__())


def name_of(number: Number) -> str:
    return number.name if type(number) is Size else f"({number})" if number < 0 else str(number)


def sizes_in(*numbers: Number) -> tuple[Size, ...]:
    return tuple([n for n in numbers if type(n) is Size])


def value_of(number: Number) -> int:
    """The present value of a number, without a guard."""
    return number.value if type(number) is Size else number


def least(a: Number, b: Number) -> Number:
    """The smaller of two sizes; no decision for planning."""
    return _extreme("min", min, a, b)


def most(a: Number, b: Number) -> Number:
    """The larger of two sizes; no decision for planning."""
    return _extreme("max", max, a, b)


def worked_out(function: Callable[..., int], *numbers: Number, low: int = 0) -> Number:
    """What a function makes of numbers, as one more size: no decision for planning, however many
    the function takes.  It is at least ``low``."""
    value = function(*map(value_of, numbers))
    sizes = sizes_in(*numbers)
    if not sizes or not sizes[0].of.is_open:
        return value
    of = sizes[0].of
    named = of.functions.setdefault(function.__name__, function)
    assert named is function
    text = f"{function.__name__}({', '.join(map(name_of, numbers))})"
    return of.made(text, sizes, value, low)


def _extreme(name: str, choose: Callable[..., int], a: Number, b: Number) -> Number:
    sizes = sizes_in(a, b)
    value = choose(value_of(a), value_of(b))
    if not sizes or not sizes[0].of.is_open:
        return value
    if a is b:
        return a
    low = choose(*[n.low if type(n) is Size else n for n in (a, b)])
    return sizes[0].of.made(f"{name}({name_of(a)}, {name_of(b)})", sizes, value, low)


def _again(find: Callable[[Any, Any], Number]) -> Callable[[Any, Any], Number]:
    """An operation of a size and a number, looked up where it was asked for before: planning
    asks for most of them many times."""
    name = find.__name__

    def found(a: Any, b: Any) -> Number:
        of = a.of if type(a) is Size else b.of
        if type(b) is Size:
            key: tuple[Any, ...] = (name, a.name if type(a) is Size else a, b.name)
        elif type(b) is int:
            key = (name, a.name, b)
        else:
            return find(a, b)
        known = of.results.get(key)
        if known is None or not of.is_open:
            known = find(a, b)
            if of.is_open:
                of.results[key] = known
        return known

    return found


@_again
def _product(a: Size, b: Number) -> Number:
    of = a.of
    if type(b) is Size:
        if not of.is_open:
            return a.value * b.value
        atoms = tuple(sorted(a.atoms + b.atoms))
        text = f"{a.name} * {b.name}"
        return of.product(a.factor * b.factor, atoms, text, (a, b), a.value * b.value)
    if not isinstance(b, int):
        return NotImplemented
    if not of.is_open:
        return a.value * b
    if b == 1:
        return a
    return of.product(a.factor * b, a.atoms, f"{a.name} * {name_of(b)}", (a,), a.value * b)


@_again
def _sum(a: Size, b: Number) -> Number:
    of, other = a.of, value_of(b)
    if not isinstance(other, int):
        return NotImplemented
    if not of.is_open:
        return a.value + other
    if type(b) is Size:
        text = " + ".join(sorted((a.name, b.name)))
        if a.atoms == b.atoms:
            return of.product(a.factor + b.factor, a.atoms, text, (a, b), a.value + other)
        return of.made(text, (a, b), a.value + other, a.low + b.low)
    if b == 0:
        return a
    return of.made(f"{a.name} + {name_of(b)}", (a,), a.value + b, a.low + b)


@_again
def _difference(a: Size, b: Number) -> Number:
    if type(b) is not Size:
        return _sum(a, -b)
    of = a.of
    if not of.is_open:
        return a.value - b.value
    text = f"{a.name} - {b.name}"
    if a.atoms == b.atoms:
        return of.product(a.factor - b.factor, a.atoms, text, (a, b), a.value - b.value)
    return of.made(text, (a, b), a.value - b.value, UNBOUNDED)


def _without(atoms: tuple[str, ...], taken: tuple[str, ...]) -> tuple[str, ...] | None:
    """The atoms less those taken; None where these are not all there."""
    left = list(atoms)
    for atom in taken:
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left)


def _parts(number: Number) -> tuple[int, tuple[str, ...]]:
    return (number.factor, number.atoms) if type(number) is Size else (number, ())


def _divisible(of: Any, a: Number, b: Number) -> tuple[int, tuple[str, ...]] | None:
    """The quotient as factor and atoms where ``b`` certainly divides ``a``."""
    if type(b) is Size and b.low < 1:
        of.guard(">", b, 0, b.value > 0)
    (factor, atoms), (divisor, taken) = _parts(a), _parts(b)
    left = _without(atoms, taken)
    if left is None or divisor == 0 or factor % divisor:
        return None
    return factor // divisor, left


@_again
def _quotient(a: Number, b: Number) -> Number:
    sizes = sizes_in(a, b)
    of, value = sizes[0].of, value_of(a) // value_of(b)
    if not of.is_open:
        return value
    if b is not sizes[0] and b == 1:
        return a
    text = f"{name_of(a)} // {name_of(b)}"
    exact = _divisible(of, a, b)
    if exact is not None:
        return of.product(*exact, text, sizes, value)
    low, divisor = (n.low if type(n) is Size else n for n in (a, b))
    bound = 0 if type(b) is Size else low // divisor
    return of.made(text, sizes, value, bound if low >= 0 and divisor > 0 else UNBOUNDED)


@_again
def _remainder(a: Number, b: Number) -> Number:
    sizes = sizes_in(a, b)
    of, value = sizes[0].of, value_of(a) % value_of(b)
    if not of.is_open:
        return value
    if _divisible(of, a, b) is not None:
        return 0
    positive = (b.low if type(b) is Size else b) > 0
    return of.made(f"{name_of(a)} % {name_of(b)}", sizes, value, 0 if positive else UNBOUNDED)


def _compared(comparison: str, a: Size, b: Any) -> Any:
    """The outcome of a comparison for the present values; a guard unless it always holds."""
    if type(b) is Size:
        other: Any = b.name if b.of is a.of else None
    else:
        other = b if type(b) is int else None
    outcomes = a.of.outcomes.setdefault((comparison, a.name), {})
    outcome = outcomes.get(other)
    if outcome is None:
        outcome = _decided(comparison, a, b)
        if other is not None:
            outcomes[other] = outcome
    return outcome


def _decided(comparison: str, a: Size, b: Any) -> Any:
    if type(b) is Size:
        if b.of is not a.of:
            return comparison == "!=" if comparison in ("==", "!=") else NotImplemented
        other = b.value
    elif isinstance(b, int):
        other = b
    else:
        return comparison == "!=" if comparison in ("==", "!=") else NotImplemented
    outcome = _COMPARISONS[comparison](a.value, other)
    if a.of.is_open and not _certain(comparison, a, b):
        a.of.guard(comparison, a, b, outcome)
    return outcome


def _certain(comparison: str, a: Size, b: Number) -> bool:
    """Whether a comparison has the same outcome for all sizes."""
    if type(b) is not Size:
        return a.low > b or (a.low == b and comparison in (">=", "<"))
    of = a.of
    if comparison in ("==", "!=") and of.is_variable(a) and of.is_variable(b):
        return True
    left, right = list(a.atoms), list(b.atoms)
    if any(of.sizes[atom].low < 1 for atom in (*left, *right)):
        return False
    for atom in a.atoms:
        if atom in right:
            left.remove(atom)
            right.remove(atom)
    if not (right or left):
        return True
    if right and left:
        return False
    low, bound = (b.factor, a.factor) if right else (a.factor, b.factor)
    for atom in right or left:
        low *= of.sizes[atom].low
    return 0 < bound < low
