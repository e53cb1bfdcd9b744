"""The loop-nest IR: what one kernel computes, and at which strides its operands lie.

A nest has outer loops over rows (run in parallel), one inner loop, and a list of values, each
an expression of earlier ones.  A value is ``full`` (one element an inner iteration), ``row``
(one a row) or ``const``.  Reductions turn a full value into a row value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlx.base.dtype import Dtype
from mlx.primitives.elementwise import Elementwise
from mlx.primitives.reductions import Reduction

CHUNK = 65536
"""Elements of a reduced axis that are folded in one go; see the order of reductions."""


@dataclass(frozen=True, slots=True)
class Load:
    """An element read through an access."""

    access: int
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Argument:
    """A number given at run time (in ``bases``, by position)."""

    position: int
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Literal:
    """A number that is part of the code; the text keeps -0.0 apart from 0.0."""

    text: str
    dtype: Dtype

    @classmethod
    def of(cls, value: bool | int | float | complex, dtype: Dtype) -> Literal:
        """A number in a dtype: 1 and 1.0 are the same code in one of floats."""
        if dtype.is_float and isinstance(value, int):
            value = float(value)
        return cls(repr(value), dtype)

    @property
    def number(self) -> Any:
        """The number, exactly."""
        if self.text in ("True", "False"):
            return self.text == "True"
        if self.dtype.is_complex:
            return complex(self.text)
        return float(self.text) if self.dtype.is_float else int(float(self.text))


@dataclass(frozen=True, slots=True)
class Index:
    """The position that an access computes, as a number (the values of iota)."""

    access: int
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Apply:
    """An elementwise primitive."""

    primitive: Elementwise
    operands: tuple[int, ...]
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Reduce:
    """A fold of a full value over the inner loop."""

    primitive: Reduction
    operand: int
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Accumulate:
    """A fold of a full value over the rows, for each place of the inner loop: complete when the
    kernel ends, so it is stored and nothing else."""

    primitive: Reduction
    operand: int
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Fold:
    """A reduction over an axis of a few elements, each a value: ``combine(identity, element)``
    of each, and the upper half folded onto the lower one until one is left."""

    primitive: Reduction
    operands: tuple[int, ...]
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Dot:
    """A product of a row and a column of a few elements: the left operands, then the right."""

    operands: tuple[int, ...]
    dtype: Dtype


@dataclass(frozen=True, slots=True)
class Tile:
    """The result of a matrix product, in its epilogue."""

    dtype: Dtype


Expression = Tile | Load | Argument | Literal | Index | Apply | Reduce | Accumulate | Fold | Dot


def operands(e: Expression) -> tuple[int, ...]:
    """Positions of the values that an expression is computed from."""
    if isinstance(e, Apply | Fold | Dot):
        return e.operands
    return (e.operand,) if isinstance(e, Reduce | Accumulate) else ()


def levels(values: Sequence[Expression]) -> list[int]:
    """The pass over a row in which a full value can be computed; for others, passes needed
    before."""
    out: list[int] = []
    for e in values:
        level = max((out[o] for o in operands(e)), default=0)
        out.append(level + 1 if isinstance(e, Reduce) else level)
    return out


@dataclass(slots=True)
class Access:
    """Where elements lie: a buffer, an offset and strides, all in elements.

    ``outer`` has one stride a row loop, ``inner`` is that of the inner loop.
    """

    buffer: int
    offset: int
    outer: tuple[int, ...]
    inner: int
    dtype: Dtype | None


@dataclass(slots=True)
class Nest:
    """One rows or columns kernel at concrete sizes.

    ``stores`` pairs a value with an access.  In a ``split`` nest the inner loop is cut into
    chunks of CHUNK and each reduction yields partial results, folded by a second kernel.
    """

    outer: tuple[int, ...]
    inner: int
    values: list[Expression] = field(default_factory=list)
    accesses: list[Access] = field(default_factory=list)
    stores: list[tuple[int, int]] = field(default_factory=list)
    split: bool = False
    columns: tuple[int, int, int] | None = None
    arguments: list[int] = field(default_factory=list)
    label: str = ""
    pattern: Any = None
    """What nests that are alike share (``compiler.alike``)."""


def of_nothing(nest: Nest) -> Nest:
    """The nest that stores what reductions over the last outer loop are where that is empty."""
    values: list[Expression] = []
    accesses: list[Access] = []
    for value, at in nest.stores:
        expression, access = nest.values[value], nest.accesses[at]
        if isinstance(expression, Reduce | Accumulate):
            dtype = expression.dtype
            values.append(Literal.of(expression.primitive.identity(dtype), dtype))
            accesses.append(replace(access, outer=access.outer[:-1]))
    stores = [(i, i) for i in range(len(values))]
    return Nest(nest.outer[:-1], nest.inner, values, accesses, stores)
