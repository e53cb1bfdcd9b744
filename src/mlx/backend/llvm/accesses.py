"""How the kernel of a nest reads and writes each operand: the classes of its accesses."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from mlx.backend.llvm import ahead, aligned, caches, staging
from mlx.backend.llvm.expressions import AccessClass, Structure
from mlx.compiler.nest import Access, Accumulate, Nest, Reduce
from mlx.compiler.orient import SHORT
from mlx.compiler.runs import MANY, is_interleaved, sharing

Offset = Callable[[Access], int]
"""Where an access begins in its buffer's block, in bytes."""


def structure_of(nest: Nest, offset: Offset) -> Structure:
    """The nest without its sizes."""
    stored = {a for _, a in nest.stores}
    staged = staged_accesses(nest)
    streams = nest.columns is None and caches.overflows(traffic(nest))
    late = {a for v, a in nest.stores if isinstance(nest.values[v], Accumulate)}
    read = set(range(len(nest.accesses))) - stored if _is_map(nest) else set()
    kinds = [
        "late"
        if number in late
        else "staged"
        if number in staged
        else _kind(nest, number, stored, offset, streams)
        for number in range(len(nest.accesses))
    ]
    classes = []
    for number, (access, kind) in enumerate(zip(nest.accesses, kinds, strict=True)):
        moves = tuple(s != 0 for s in access.outer)
        name = access.dtype.name if access.dtype is not None else "index"
        if kind == "interleaved":
            runs = _runs(nest, number, stored)
            first = nest.accesses[runs[0]]
            around = number in stored and runs[2] == first.inner
            around = around and streams and _in_lines(first, offset)
            classes.append(AccessClass(kind, moves, name, int(access.inner), *runs, around))
        else:
            anywhere = kind == "stream" and not _in_lines(access, offset)
            far = kind == "unit" and number in read and _lies_apart(nest, access)
            classes.append(AccessClass(kind, moves, name, anywhere=anywhere, far=far))
    return aligned.settled(
        Structure(
            len(nest.outer), tuple(nest.values), tuple(classes), tuple(nest.stores), nest.split
        )
    )


def _kind(nest: Nest, number: int, stored: set[int], offset: Offset, streams: bool) -> str:
    """How an access is read or written; ``streams``: around the caches, if it is written."""
    access = nest.accesses[number]
    if access.buffer < 0:
        return "zero" if access.inner == 0 else "strided"
    if access.inner == 0:
        reduces = any(isinstance(v, Reduce) for v in nest.values)
        if number not in stored or nest.inner != 1 or reduces:
            return "zero"
    elif access.inner == -1 and number not in stored:
        return "reversed"
    elif _elements(nest, stored) >= MANY and is_interleaved(nest, number, stored):
        return "interleaved"
    elif access.inner != 1:
        return "strided"
    if number not in stored or not streams or access.dtype is None:
        return "unit"
    size = access.dtype.size
    return "stream" if _in_lines(access, offset) or nest.inner * size >= aligned.LEAST else "unit"


def _is_map(nest: Nest) -> bool:
    """Whether rows are neither reduced nor few."""
    if not nest.outer or nest.columns is not None or prod(nest.outer) * nest.inner < MANY:
        return False
    return not any(isinstance(e, Reduce | Accumulate) for e in nest.values)


def _lies_apart(nest: Nest, access: Access) -> bool:
    """Whether short rows have others between them: the hardware does not fetch these ahead."""
    size = access.dtype.size  # type: ignore[union-attr]
    return bool(nest.inner * size <= ahead.SHORTEST and access.outer[-1] >= 2 * nest.inner)


def _elements(nest: Nest, stored: set[int]) -> int:
    """Read or written: of loops that became code those of each turn."""
    turns = max(len(stored), len(nest.accesses) - len(stored))
    return prod(nest.outer) * nest.inner * turns


def _runs(nest: Nest, number: int, stored: set[int]) -> tuple[int, int, int]:
    """Of an interleaved access: that with the first place of the same runs, its own place
    behind it, and how many places there are up to the last."""
    near = sharing(nest, number, stored)
    first, leader = near[0]
    return leader, -first, near[-1][0] - first + 1


def staged_accesses(nest: Nest) -> list[int]:
    """Operands that lie across the rows, if blocks of rows of them fit in cache."""
    rows = nest.outer[-1] if nest.outer else 1
    if nest.columns is not None or nest.split or rows < staging.BLOCK or nest.inner <= SHORT:
        return []
    if any(isinstance(v, Accumulate) for v in nest.values):
        return []
    stored = {a for _, a in nest.stores}
    found = [
        number
        for number, access in enumerate(nest.accesses)
        if number not in stored
        and access.buffer >= 0
        and access.inner not in (0, 1)
        and access.outer[-1] == 1
    ]
    inner = nest.inner
    if not any(isinstance(e, Reduce) for e in nest.values):
        inner = min(inner, staging.CHUNK)
    sizes = [d.size for d in (nest.accesses[a].dtype for a in found) if d is not None]
    bytes_each = sum(staging.BLOCK * staging.row_bytes(inner, size) for size in sizes)
    return found if bytes_each <= staging.STAGED_BYTES else []


def _in_lines(access: Access, offset: Offset) -> bool:
    """Whether all rows begin with a line of memory."""
    size = access.dtype.size  # type: ignore[union-attr]
    offsets = (offset(access), *(s * size for s in access.outer))
    return all(o % aligned.LINE == 0 for o in offsets)


def traffic(nest: Nest) -> int:
    """Bytes read and written, each element once."""
    total = 0
    for access in nest.accesses:
        if access.dtype is None:
            continue
        sizes = zip((*nest.outer, nest.inner), (*access.outer, access.inner), strict=True)
        total += prod(n for n, s in sizes if s) * access.dtype.size
    return total
