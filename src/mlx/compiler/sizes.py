"""Sizes that are not known yet: arithmetic on them is written down, decisions become guards.

Planning a region with a ``Size`` in place of each size that changes from run to run gives the
plan for *all* sizes that take the same decisions: what is computed of sizes is kept as an
expression, and every comparison that planning branched on as a guard.  ``function`` turns
expressions and guards into Python code that yields the same numbers for other sizes, or None
where a decision would differ.  Whatever needs a plain integer (an index, a range, a text) gets
the present one, guarded: a plan can be too special, but not wrong.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

_UNBOUNDED = -(1 << 80)
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
    other than products.  It is known to be at least ``low``.
    """

    __slots__ = ("atoms", "factor", "inputs", "low", "name", "of", "text", "value")

    def __init__(
        self, of: Trace, text: str, inputs: tuple[Size, ...], value: int, low: int
    ) -> None:
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


class Trace:
    """The sizes of one plan: ``variables`` stand for these values, all different, at least 2."""

    def __init__(self, values: Sequence[int]) -> None:
        self.is_open = True
        self.sizes: dict[str, Size] = {}
        self.guards: dict[tuple[str, str, str], tuple[str, tuple[Size, ...]]] = {}
        self.hashed: dict[str, Size] = {}
        self._made: dict[str, Size] = {}
        self._products: dict[tuple[int, tuple[str, ...]], Size] = {}
        self.variables = [self._variable(value, 2) for value in values]
        self.places: list[Size] = []
        self._distinct = {v.name for v in self.variables}

    def _variable(self, value: int, low: int) -> Size:
        size = Size(self, "", (), value, low)
        self._products[1, size.atoms] = size
        return size

    def place(self, value: int) -> Size:
        """A number that becomes known only when all sizes are: a place in memory."""
        size = self._variable(value, 0)
        self.places.append(size)
        return size

    def made(self, text: str, inputs: tuple[Size, ...], value: int, low: int) -> Size:
        """The result of an operation; the same text is the same size."""
        size = self._made.get(text)
        if size is None:
            size = self._made[text] = Size(self, text, inputs, value, low)
            self._products[1, size.atoms] = size
        return size

    def product(
        self, factor: int, atoms: tuple[str, ...], text: str, inputs: tuple[Size, ...], value: int
    ) -> Number:
        """``factor`` times ``atoms``, which ``text`` computes."""
        if not atoms or not factor:
            return factor
        size = self._products.get((factor, atoms))
        if size is None:
            low = factor
            for atom in atoms:
                low *= self.sizes[atom].low
            is_bounded = factor > 0 and all(self.sizes[atom].low >= 0 for atom in atoms)
            size = Size(self, text, inputs, value, low if is_bounded else _UNBOUNDED)
            size.factor, size.atoms = factor, atoms
            self._products[factor, atoms] = size
        return size

    def guard(self, comparison: str, a: Size, b: Number, outcome: bool) -> None:
        """A decision that planning took."""
        other = _name(b)
        key = (comparison, a.name, other)
        if key not in self.guards:
            test = f"{a.name} {comparison} {other}"
            self.guards[key] = (test if outcome else f"not {test}", _sizes(a, b))

    def is_variable(self, size: Size) -> bool:
        return size.name in self._distinct

    def close(self) -> None:
        """End planning: what dictionaries told apart must stay apart, and equal equal."""
        by_value: dict[int, Size] = {}
        for size in self.hashed.values():
            first = by_value.setdefault(size.value, size)
            if first is not size:
                self.guard("==", size, first, True)
            elif size.value in (0, 1):
                self.guard("==", size, size.value, True)
        self.is_open = False
        apart = tuple(size for value, size in by_value.items() if value not in (0, 1))
        if len(apart) > 1 and not all(self.is_variable(size) for size in apart):
            names = ", ".join(s.name for s in apart)
            self.guards["distinct", "", ""] = (f"len({{0, 1, {names}}}) == {len(apart) + 2}", apart)

    # -- code --------------------------------------------------------------------------

    def function(
        self,
        arguments: str,
        needed: Sequence[Number],
        placing: str,
        outputs: Sequence[tuple[str, Number]],
        end: str,
    ) -> Callable[..., Any]:
        """Code that is given the variables (``sizes``) and returns None where a guard fails.

        The numbers ``needed`` come before the line ``placing``, which yields the places; then
        each of ``outputs`` is assigned, then comes ``end``.  Texts name numbers in braces: {0}.
        """
        writer = _Writer(self)
        late = []
        writer.unpack([v.name for v in self.variables], "sizes")
        for test, inputs in self.guards.values():
            if writer.compute(inputs):
                writer.lines.append(f"if not ({test}): return None")
            else:
                late.append((test, inputs))
        if self.places:
            writer.compute(_sizes(*needed))
            listed = "".join(f"{_name(n)}, " for n in needed)
            writer.unpack([p.name for p in self.places], placing.format(f"({listed})"))
            writer.late.clear()
        for test, inputs in late:
            writer.compute(inputs)
            writer.lines.append(f"if not ({test}): return None")
        for target, number in outputs:
            writer.compute(_sizes(number))
            writer.lines.append(f"{target} = {_name(number)}")
        source = f"def bind({arguments}):\n    " + "\n    ".join([*writer.lines, end])
        scope: dict[str, Any] = {}
        exec(compile(source, "<template>", "exec"), scope)
        return scope["bind"]


class _Writer:
    """Lines of code, each size computed once, before its first use."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.known: set[str] = set()
        self.late: set[str] = {p.name for p in trace.places}
        self.lines: list[str] = []

    def unpack(self, names: list[str], value: str) -> None:
        self.known.update(names)
        if names:
            self.lines.append(f"{', '.join(names)}, = {value}")

    def compute(self, sizes: Iterable[Size]) -> bool:
        """Write what the sizes need; False if some need places that aren't known."""
        stack = list(sizes)
        while stack:
            size = stack[-1]
            if size.name in self.known:
                stack.pop()
                continue
            if size.name in self.late or any(i.name in self.late for i in size.inputs):
                self.late.add(size.name)
                return False
            missing = [i for i in size.inputs if i.name not in self.known]
            if missing:
                stack += missing
                continue
            self.known.add(stack.pop().name)
            self.lines.append(f"{size.name} = {size.text}")
        return True


def _name(number: Number) -> str:
    return number.name if type(number) is Size else f"({number})" if number < 0 else str(number)


def _sizes(*numbers: Number) -> tuple[Size, ...]:
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


def _extreme(name: str, choose: Callable[..., int], a: Number, b: Number) -> Number:
    sizes = _sizes(a, b)
    value = choose(value_of(a), value_of(b))
    if not sizes or not sizes[0].of.is_open:
        return value
    if a is b:
        return a
    low = choose(*[n.low if type(n) is Size else n for n in (a, b)])
    return sizes[0].of.made(f"{name}({_name(a)}, {_name(b)})", sizes, value, low)


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
    return of.product(a.factor * b, a.atoms, f"{a.name} * {_name(b)}", (a,), a.value * b)


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
    return of.made(f"{a.name} + {_name(b)}", (a,), a.value + b, a.low + b)


def _difference(a: Size, b: Number) -> Number:
    if type(b) is not Size:
        return _sum(a, -b)
    of = a.of
    if not of.is_open:
        return a.value - b.value
    text = f"{a.name} - {b.name}"
    if a.atoms == b.atoms:
        return of.product(a.factor - b.factor, a.atoms, text, (a, b), a.value - b.value)
    return of.made(text, (a, b), a.value - b.value, _UNBOUNDED)


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


def _divisible(of: Trace, a: Number, b: Number) -> tuple[int, tuple[str, ...]] | None:
    """The quotient as factor and atoms where ``b`` certainly divides ``a``."""
    if type(b) is Size and b.low < 1:
        of.guard(">", b, 0, b.value > 0)
    (factor, atoms), (divisor, taken) = _parts(a), _parts(b)
    left = _without(atoms, taken)
    if left is None or divisor == 0 or factor % divisor:
        return None
    return factor // divisor, left


def _quotient(a: Number, b: Number) -> Number:
    sizes = _sizes(a, b)
    of, value = sizes[0].of, value_of(a) // value_of(b)
    if not of.is_open:
        return value
    if b is not sizes[0] and b == 1:
        return a
    text = f"{_name(a)} // {_name(b)}"
    exact = _divisible(of, a, b)
    if exact is not None:
        return of.product(*exact, text, sizes, value)
    low, divisor = (n.low if type(n) is Size else n for n in (a, b))
    bound = 0 if type(b) is Size else low // divisor
    return of.made(text, sizes, value, bound if low >= 0 and divisor > 0 else _UNBOUNDED)


def _remainder(a: Number, b: Number) -> Number:
    sizes = _sizes(a, b)
    of, value = sizes[0].of, value_of(a) % value_of(b)
    if not of.is_open:
        return value
    if _divisible(of, a, b) is not None:
        return 0
    positive = (b.low if type(b) is Size else b) > 0
    return of.made(f"{_name(a)} % {_name(b)}", sizes, value, 0 if positive else _UNBOUNDED)


def _compared(comparison: str, a: Size, b: Any) -> Any:
    """The outcome of a comparison for the present values; a guard unless it always holds."""
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
