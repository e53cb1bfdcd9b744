"""Fetching the next rows from memory while this row is computed.

A row is read in its first pass; in the others the memory would rest.  The pass with the most
instructions asks for what the first pass of a following row will read.  Where several results leave
the caches, those between the first and the last share the asking, unless memory has no rest: where
an operand is met first in a pass whose results leave, asking was a loss of a tenth.
"""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.expressions import FULL, Structure, operands
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import Value, i64
from mlx.base.dtype import dtype_named
from mlx.compiler.nest import Apply, Load, Reduce

LONGEST = 1 << 18
"""Bytes of a row (of one operand) beyond which the next one would drive it out of the cache."""
SHORTEST, ROWS = 128, 16
"""Bytes of rows that a map asks for ahead where others lie between them, and how many rows."""
LINE = 64
WHOLE = slice(None)
_CALL = 12


def fetching_passes(s: Structure) -> list[int]:
    """The passes that ask for the next row; none where one pass does everything."""
    if s.passes < 2 or s.depth == 0 or s.split:
        return []
    leaving = [s.store_pass(v) for v, a in s.stores if s.accesses[a].kind == "stream"]
    if len(leaving) > 1:
        is_busy = not set(leaving).isdisjoint(first_reads(s).values())
        return [] if is_busy else list(range(1, max(2, s.passes - 1)))
    return [busiest_pass(s)]


def busiest_pass(s: Structure) -> int:
    """The pass with the most instructions."""
    costs = [0] * s.passes
    for v, e in enumerate(s.values):
        if s.spaces[v] == FULL and isinstance(e, Apply) and s.levels[v] < s.passes:
            costs[s.levels[v]] += 1 if getattr(e.primitive, "cheap", False) else _CALL
    return costs.index(max(costs))


def fetched(s: Structure) -> list[int]:
    """The operands, another row of each every time, that passes before those read."""
    passes = fetching_passes(s)
    return [a for a, level in sorted(first_reads(s).items()) if level < passes[0]] if passes else []


def first_reads(s: Structure) -> dict[int, int]:
    """The pass that first reads each operand, another row of which it is every time."""
    first: dict[int, int] = {}
    for v, e in enumerate(s.values):
        level = s.levels[v] - isinstance(e, Reduce)
        for o in operands(e):
            load = s.values[o]
            if isinstance(load, Load):
                first[load.access] = min(level, first.get(load.access, level))
    classes = {access: s.accesses[access] for access in first}
    return {a: first[a] for a, c in classes.items() if c.kind == "unit" and c.moves[-1]}


def distance(f: Function, s: Structure, access: int, inner: Value, step: Value) -> Value:
    """Bytes to the row to ask for, ``step`` bytes away; 0 (this one) where rows are long."""
    size = dtype_named(s.accesses[access].dtype).size
    short = f.icmp("sle", inner, i64(LONGEST // size))
    return f.select(short, step, i64(0))


def fetch(
    f: Function,
    s: Structure,
    access: int,
    row: Value,
    j: Value,
    lanes: int,
    share: slice = WHOLE,
    level: int = 3,
) -> None:
    """Ask for a share of the lines of a step of the inner loop, in a row of an operand."""
    size = dtype_named(s.accesses[access].dtype).size
    at = f.gep(row, f.mul(j, i64(size)))
    for line in range(0, lanes * size, LINE)[share]:
        memory.prefetch(f, f.gep(at, i64(line)), level)
