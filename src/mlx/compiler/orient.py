"""Which loop of a nest is the inner one, and which become code instead of loops.

A vector of the inner loop is what a kernel computes at once, so a short inner loop wastes most of
it.  No result changes: a fold of a few elements, each a value, keeps the order of reductions.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from mlx.compiler.blocks import in_words, moves_blocks
from mlx.compiler.groups import is_late
from mlx.compiler.nest import (
    CHUNK,
    Access,
    Accumulate,
    Apply,
    Dot,
    Expression,
    Fold,
    Index,
    Load,
    Nest,
    Reduce,
)
from mlx.compiler.runs import FULL, MANY, SPARSE, is_interleaved

SHORT, FEW = 8, 16
"""Most turns of a loop that is unrolled: of a map, and where something is reduced."""
LONG = 16
"""Fewest turns of the loop that takes its place."""
MOST_ACCESSES, MOST_VALUES = 64, 400
"""Of an unrolled nest."""


def oriented(nest: Nest) -> Nest:
    """The nest with the loops that suit its operands."""
    if nest.columns is not None:
        return _oriented_columns(nest)
    if any(isinstance(v, Accumulate) for v in nest.values):
        return nest
    if nest.split or not nest.outer or prod(nest.outer) * nest.inner < MANY:
        return nest
    nest = in_words(nest)
    if moves_blocks(nest):
        return nest
    nest = _along_lines(nest)
    reduces = any(isinstance(e, Reduce) for e in nest.values)
    if 2 <= nest.inner <= (FEW if reduces else SHORT):
        return without_short_loops(nest)
    if 2 <= nest.outer[-1] <= SHORT and nest.inner >= LONG and _has_runs(nest):
        return _unrolled(nest, len(nest.outer) - 1) or nest
    return nest


def without_short_loops(nest: Nest) -> Nest:
    """The nest with the last outer loop that is not short as its inner one."""
    found: Nest | None = nest
    while found is not None and found.outer and (found is nest or found.inner <= SHORT):
        found = _unrolled(found, len(found.outer), whole=found.outer[-1] >= LONG)
    return nest if found is None or found.inner <= SHORT else found


def _along_lines(nest: Nest) -> Nest:
    """The nest with rows in such an order that operands which lie across them are read by whole
    lines of memory: those that share lines follow each other."""
    stored = {a for _, a in nest.stores}
    across = [
        a.outer
        for n, a in enumerate(nest.accesses)
        if n not in stored and a.buffer >= 0 and not -1 <= a.inner <= FULL
    ]
    if not across or any(outer[-1] == 1 for outer in across):
        return nest
    loops = zip(nest.outer, *across, strict=True)
    near = [d for d, (size, *strides) in enumerate(loops) if size >= LONG and 1 in strides]
    return _with_last(nest, near[-1]) if near else nest


def _with_last(nest: Nest, loop: int) -> Nest:
    """The nest with another last outer loop."""

    def moved(outer: tuple[int, ...]) -> tuple[int, ...]:
        return (*outer[:loop], *outer[loop + 1 :], outer[loop])

    accesses = [replace(a, outer=moved(a.outer)) for a in nest.accesses]
    return replace(nest, outer=moved(nest.outer), accesses=accesses)


# -- reductions over an outer axis ---------------------------------------------------------


def _oriented_columns(nest: Nest) -> Nest:
    depth, inner = nest.outer[-1], nest.inner
    if _lies_along_depth(nest):
        return _along_depth(nest)
    if prod(nest.outer) * nest.inner < MANY:
        return nest
    if 2 <= depth <= FEW and inner >= LONG:
        return _unrolled(nest, len(nest.outer) - 1) or nest
    if is_late(nest.columns):
        return _by_rows(nest)
    if 2 <= inner <= SHORT and depth >= 4 * LONG:
        turned = _along_depth(nest)
        if not turned.split or prod(nest.outer[:-1]) == 1:
            return _unrolled(turned, len(turned.outer) - 1) or nest
    return nest


def _lies_along_depth(nest: Nest) -> bool:
    """Whether neighbours of every large operand are those along the reduced axis."""
    large = [a for a in nest.accesses if a.inner != 0 and a.outer[-1] != 0]
    return bool(large) and all(a.outer[-1] == 1 and a.inner != 1 for a in large)


def _along_depth(nest: Nest) -> Nest:
    """The reduced axis as the inner loop: reductions of rows have the same order."""
    *outer, depth = nest.outer
    accesses = [
        replace(a, outer=(*a.outer[:-1], a.inner), inner=a.outer[-1]) for a in nest.accesses
    ]
    return replace(
        nest,
        outer=(*outer, nest.inner),
        inner=depth,
        accesses=accesses,
        columns=None,
        split=bool(depth > CHUNK),
    )


def _by_rows(nest: Nest) -> Nest:
    """Whole rows one after the other: memory is read in long pieces."""
    values: list[Expression] = [
        Accumulate(e.primitive, e.operand, e.dtype) if isinstance(e, Reduce) else e
        for e in nest.values
    ]
    return replace(nest, values=values, columns=None)


# -- short loops ---------------------------------------------------------------------------


def _has_runs(nest: Nest) -> bool:
    """Whether the last outer loop walks through elements that the inner one jumps over."""
    return any(1 < a.inner <= SPARSE and a.outer[-1] == 1 for a in nest.accesses)


def _unrolled(nest: Nest, loop: int, whole: bool = True) -> Nest | None:
    """The nest without a loop; None where the code would get large, or where operands could
    not be read in ``whole`` registers."""
    found = _Unrolled(nest, loop)
    if not found.is_small():
        return None
    made = found.nest()
    stored = {a for _, a in made.stores}
    numbers = range(len(made.accesses))
    if whole and not all(_is_whole(made, n, stored) for n in numbers):
        return None
    return made


def _is_whole(nest: Nest, number: int, stored: set[int]) -> bool:
    access = nest.accesses[number]
    if access.buffer < 0:
        return True
    return -1 <= access.inner <= 1 or is_interleaved(nest, number, stored)


class _Unrolled:
    """A nest without one of its two innermost loops: what depends on it is there several times."""

    def __init__(self, old: Nest, loop: int) -> None:
        self.old = old
        self.loop = loop
        self.reduced = len(old.outer) - (old.columns is not None)
        self.times = int((*old.outer, old.inner)[loop])
        self.accesses: list[Access] = []
        self.access_at: list[list[int]] = []
        for access in old.accesses:
            strides = [*access.outer, access.inner]
            step = strides.pop(loop)
            moved = range(self.times if step != 0 else 1)
            first = len(self.accesses)
            self.accesses += [
                Access(
                    access.buffer, access.offset + i * step, tuple(strides[:-1]), strides[-1],
                    access.dtype,
                )
                for i in moved
            ]  # fmt: skip
            self.access_at.append([first + i for i in moved])

    def is_small(self) -> bool:
        """Whether the code stays small."""
        values = len(self.old.values) * self.times
        return len(self.accesses) <= MOST_ACCESSES and values <= MOST_VALUES

    def nest(self) -> Nest:
        """The new nest."""
        values: list[Expression] = []
        known: dict[Expression, int] = {}
        value_at: list[list[int]] = []
        for expression in self.old.values:
            made = []
            for copy in self._copies(expression, value_at):
                if copy not in known:
                    known[copy] = len(values)
                    values.append(copy)
                made.append(known[copy])
            value_at.append(made)
        stores = [
            (_turn(value_at[value], i), at)
            for value, access in self.old.stores
            for i, at in enumerate(self.access_at[access])
        ]
        sizes = [*self.old.outer, self.old.inner]
        sizes.pop(self.loop)
        return replace(
            self.old,
            outer=tuple(sizes[:-1]),
            inner=sizes[-1],
            values=values,
            accesses=self.accesses,
            stores=stores,
            columns=None,
        )

    def _copies(self, e: Expression, value_at: list[list[int]]) -> list[Expression]:
        """An expression for each turn of the loop, or one for all of them."""
        if isinstance(e, Load | Index):
            return [replace(e, access=access) for access in self.access_at[e.access]]
        if isinstance(e, Apply | Fold | Dot):
            turns = max(len(value_at[o]) for o in e.operands) if e.operands else 1
            return [
                replace(e, operands=tuple(_turn(value_at[o], i) for o in e.operands))
                for i in range(turns)
            ]
        if not isinstance(e, Reduce):
            return [e]
        operand = value_at[e.operand]
        if self.loop != self.reduced:
            return [replace(e, operand=o) for o in operand]
        elements = tuple(_turn(operand, i) for i in range(self.times))
        return [Fold(e.primitive, elements, e.dtype)]


def _turn(copies: list[int], i: int) -> int:
    return copies[i] if len(copies) > 1 else copies[0]
