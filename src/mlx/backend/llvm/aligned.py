"""Rows that begin anywhere in a line of memory, written around the caches all the same.

A pass that only stores may begin its whole steps where the row meets a line; what lies before is
a masked step, as is what is left behind.  (Written through the caches, such rows took 1.1 to 1.6
times as long: each line is read first.)  A pass that reduces can't: its order counts from the row's
first element.
"""

from __future__ import annotations

from dataclasses import replace

from mlx.backend.llvm.expressions import Structure
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import Value, i64
from mlx.base.dtype import dtype_named
from mlx.compiler.nest import Reduce

LINE = 64
LEAST = 3072
"""Bytes of a row from which the masked steps at its ends pay."""

_ELSEWHERE = {"interleaved", "reversed", "staged"}
"""Operands that are read in blocks, or whose masks count from the other end."""


def leaders(s: Structure) -> dict[int, int]:
    """Of passes whose rows may begin anywhere: the result by whose lines they are cut."""
    found: dict[int, int] = {}
    for value, access in s.stores:
        if not s.accesses[access].anywhere:
            continue
        number = s.store_pass(value)
        if number not in found or _size(s, access) < _size(s, found[number]):
            found[number] = access
    return found


def _size(s: Structure, access: int) -> int:
    return dtype_named(s.accesses[access].dtype).size


def settled(s: Structure) -> Structure:
    """With ordinary stores for the rows that can't be cut at lines."""
    if not any(a.anywhere for a in s.accesses):
        return s
    reduced = {s.levels[v] - 1 for v, e in enumerate(s.values) if isinstance(e, Reduce)}
    plain = s.split or not _ELSEWHERE.isdisjoint(a.kind for a in s.accesses)
    passes = {access: s.store_pass(value) for value, access in s.stores}
    classes = tuple(
        replace(c, kind="unit", anywhere=False)
        if c.anywhere and (plain or passes[a] in reduced)
        else c
        for a, c in enumerate(s.accesses)
    )
    return replace(s, accesses=classes)


def before_line(f: Function, address: Value, size: int, lanes: int) -> Value:
    """Elements from an address to the next line (or part of one that a step fills): less than
    a step."""
    at = f.emit(f"ptrtoint ptr {address.ref} to i64", "i64")
    rest = f.op("and", f.neg(at), i64(min(LINE, lanes * size) - 1))
    return f.op("udiv", rest, i64(size))


def is_inside(f: Function, address: Value) -> Value:
    """Whether a line begins before an address (i1)."""
    at = f.emit(f"ptrtoint ptr {address.ref} to i64", "i64")
    return f.icmp("ne", f.op("and", at, i64(LINE - 1)), i64(0))
