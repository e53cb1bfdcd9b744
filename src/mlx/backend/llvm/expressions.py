"""The structure of a nest that decides its code, and the analysis of its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.compiler.nest import (
    Accumulate,
    Apply,
    Argument,
    Dot,
    Expression,
    Fold,
    Index,
    Literal,
    Load,
    Reduce,
    Tile,
    levels,
    operands,
)

CONST, ROW, FULL = 0, 1, 2
_CALL_COST = 12


def accumulator(dtype: Dtype) -> Dtype:
    """The dtype in which a reduction accumulates."""
    return dt.float32 if dtype.is_float and dtype.size == 2 else dtype


def accumulator_lanes(dtype: Dtype) -> int:
    """Lanes of the promised order: 128 bytes; integers may take any."""
    acc = accumulator(dtype)
    return 128 // acc.size if acc.is_inexact else 32


def _fold(emit: Any, fold: Fold, elements: Sequence[Any]) -> Any:
    """In the order of reductions: what their other accumulators hold changes nothing."""
    wide, combine = accumulator(fold.dtype), fold.primitive.combine
    first = emit.const(fold.primitive.identity(wide), wide)
    sums = [combine(emit, first, emit.cast(element, wide)) for element in elements]
    half = 1
    while 2 * half < len(sums):
        half *= 2
    while half:
        for i in range(len(sums) - half):
            sums[i] = combine(emit, sums[i], sums[i + half])
        sums = sums[:half]
        half //= 2
    return emit.cast(sums[0], fold.dtype)


def _dot(emit: Any, dot: Dot, elements: Sequence[Any]) -> Any:
    """In the order of matrix products: from zero, one fused step an element."""
    wide, half = accumulator(dot.dtype), len(elements) // 2
    total = emit.const(0, wide)
    for a, b in zip(elements[:half], elements[half:], strict=True):
        total = emit.fma(emit.cast(a, wide), emit.cast(b, wide), total)
    return emit.cast(total, dot.dtype)


def compute(emit: Any, expression: Expression, known: Mapping[int, Any] | Sequence[Any]) -> Any:
    """Emit what needs no memory: a literal, or an operation on values that are known."""
    if isinstance(expression, Literal):
        return emit.const(expression.number, expression.dtype)
    args = [known[o] for o in operands(expression)]
    if isinstance(expression, Fold):
        return _fold(emit, expression, args)
    if isinstance(expression, Dot):
        return _dot(emit, expression, args)
    assert isinstance(expression, Apply)
    result = expression.primitive.scalar(emit, *args)
    assert result.dtype is expression.dtype, (expression, result.dtype)
    return result


@dataclass(frozen=True, slots=True)
class AccessClass:
    """What of an access decides code: ``unit``, ``zero``, ``strided``, ``stream`` (unit,
    non-temporal), ``reversed``, ``staged``, ``late`` (of an Accumulate) or
    ``interleaved``, and which outer loops move it.

    Of an interleaved one: elements from one to the next, the access that comes first in the
    same runs, the place behind that one, places up to the last access, and whether whole runs
    are written around the caches.  ``anywhere``: of a ``stream`` whose rows need not begin with
    a line.
    """

    kind: str
    moves: tuple[bool, ...]
    dtype: str
    step: int = 0
    leader: int = -1
    place: int = 0
    span: int = 1
    around: bool = False
    anywhere: bool = False
    far: bool = False

    @property
    def text(self) -> str:
        runs = (self.step, self.leader, self.place, self.span, self.around)
        more = "a" * self.anywhere + "f" * self.far
        more = repr(runs) if self.kind == "interleaved" else more
        return f"{self.kind}{''.join('01'[m] for m in self.moves)}{self.dtype}{more}"


@dataclass(frozen=True)
class Structure:
    """A nest without its sizes: equal structures share machine code."""

    depth: int
    values: tuple[Expression, ...]
    accesses: tuple[AccessClass, ...]
    stores: tuple[tuple[int, int], ...]
    split: bool

    @cached_property
    def text(self) -> str:
        parts = [str(self.depth), "split" if self.split else ""]
        for e in self.values:
            parts.append(text_of(e))
        for a in self.accesses:
            parts.append(a.text)
        parts.append(repr(self.stores))
        return ";".join(parts)

    @cached_property
    def spaces(self) -> list[int]:
        """CONST, ROW or FULL for each value."""
        out: list[int] = []
        for e in self.values:
            if isinstance(e, Load | Index):
                access = self.accesses[e.access]
                space = ROW if any(access.moves) else CONST
                out.append(space if access.kind == "zero" else FULL)
            elif isinstance(e, Reduce):
                out.append(ROW)
            elif isinstance(e, Accumulate):
                out.append(FULL)
            else:
                out.append(max((out[o] for o in operands(e)), default=CONST))
        return out

    @cached_property
    def levels(self) -> list[int]:
        return levels(self.values)

    @cached_property
    def passes(self) -> int:
        """Number of inner passes."""
        last = [self.levels[v] - 1 for v, e in enumerate(self.values) if isinstance(e, Reduce)]
        last += [self.levels[v] for v, a in self.stores if self.accesses[a].kind != "zero"]
        return max(last, default=-1) + 1

    def store_pass(self, value: int) -> int:
        """A row value that fills a whole row is stored in the last pass."""
        return self.levels[value] if self.spaces[value] == FULL else self.passes - 1

    @cached_property
    def costs(self) -> list[int]:
        """Instructions, roughly, to compute a full value from memory again."""
        out: list[int] = []
        for v, e in enumerate(self.values):
            if self.spaces[v] != FULL:
                out.append(0)
                continue
            own = 1
            if isinstance(e, Apply) and not getattr(e.primitive, "cheap", False):
                own = _CALL_COST
            out.append(own + sum(out[o] for o in operands(e)))
        return out

    @cached_property
    def scratch(self) -> list[int]:
        """Full values kept in a scratch row because a later pass needs them again."""
        found: set[int] = set()
        for v, e in enumerate(self.values):
            uses = self.levels[v] - (1 if isinstance(e, Reduce) else 0)
            if self.spaces[v] == FULL or isinstance(e, Reduce):
                self._keep(e, uses, found)
        return sorted(found)

    def _keep(self, e: Expression, level: int, found: set[int]) -> None:
        """Mark what computing ``e`` in pass ``level`` would need from earlier passes."""
        stack = list(operands(e))
        while stack:
            v = stack.pop()
            if self.spaces[v] != FULL or v in found or self.levels[v] >= level:
                continue
            if self.costs[v] > 8 and not isinstance(self.values[v], Load | Index):
                found.add(v)
            else:
                stack += operands(self.values[v])


def text_of(e: Expression) -> str:
    """A stable text of an expression, for keys."""
    if isinstance(e, Tile):
        return f"T{e.dtype.name}"
    if isinstance(e, Load):
        return f"L{e.access}{e.dtype.name}"
    if isinstance(e, Argument):
        return f"A{e.position}{e.dtype.name}"
    if isinstance(e, Literal):
        return f"C{e.text}{e.dtype.name}"
    if isinstance(e, Index):
        return f"I{e.access}{e.dtype.name}"
    if isinstance(e, Dot):
        return f"D{e.operands}{e.dtype.name}"
    if isinstance(e, Apply):
        return f"{e.primitive!r}{e.operands}{e.dtype.name}"
    return f"{type(e).__name__}{type(e.primitive).__name__}{operands(e)}{e.dtype.name}"
