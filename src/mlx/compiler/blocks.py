"""Nests that only move runs of neighbours: as single words, as blocks of bytes, as long runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from mlx.base import dtype as dt
from mlx.compiler.nest import Access, Literal, Load, Nest
from mlx.compiler.runs import MANY, SPARSE

MOST = 128
"""Bytes of a run that is moved as a block: in at most two registers."""
SHUFFLED = 24
"""Bytes of runs up to which those that lie near each other are better read in whole registers."""
LOOPS = 3
"""Most loops over long runs."""
MEAN = 64
"""Bytes of a run, on the average, from which pieces are worth one kernel for all of them."""
_WORDS = {2: dt.uint16, 4: dt.uint32, 8: dt.uint64}


def is_move(nest: Nest) -> bool:
    """Whether a nest only copies runs of neighbours, or writes runs of zeros."""
    if nest.columns is not None or nest.split:
        return False
    if any(a.buffer < 0 or (a.inner != 1 and nest.inner != 1) for a in nest.accesses):
        return False
    match nest.values, nest.stores:
        case [Load(access=source)], [(0, target)]:
            return source != target and len(nest.accesses) == 2
        case [Literal(text="0" | "0.0" | "False")], [(0, _)]:
            return len(nest.accesses) == 1
    return False


def run_bytes(nest: Nest) -> int:
    """Bytes of the runs that a nest of many elements copies; 0 if it does other things, or if
    these are single elements or too long for a block."""
    if not nest.outer or len(nest.accesses) != 2 or not is_move(nest):
        return 0
    size = nest.accesses[0].dtype.size  # type: ignore[union-attr]
    if nest.inner * size > MOST or nest.inner < 2 or prod(nest.outer) * nest.inner < MANY:
        return 0
    return int(nest.inner) * size


def moves_blocks(nest: Nest) -> bool:
    """Whether a kernel moves runs in registers of their own: nothing is shuffled."""
    nbytes = run_bytes(nest)
    return nbytes > SHUFFLED or any(abs(a.outer[-1]) > SPARSE for a in nest.accesses if nbytes)


def moves_runs(nest: Nest) -> bool:
    """Whether a nest copies rows that are longer than blocks."""
    if not 0 < len(nest.outer) <= LOOPS or not is_move(nest):
        return False
    return nest.inner * nest.accesses[0].dtype.size > MOST  # type: ignore[union-attr]


def makes_one(nests: Sequence[Nest]) -> bool:
    """Whether one kernel copies all of these pieces."""
    if len(nests) < 2 or not all(is_move(n) and len(n.outer) <= LOOPS for n in nests):
        return False
    runs = sum(prod(nest.outer) for nest in nests)
    sizes = [nest.accesses[0].dtype.size for nest in nests]  # type: ignore[union-attr]
    total = sum(prod(n.outer) * n.inner * size for n, size in zip(nests, sizes, strict=True))
    return runs * MEAN <= total


def in_words(nest: Nest) -> Nest:
    """A copy of runs that are as long as a word as one of words, where strides can say it."""
    word = _WORDS.get(run_bytes(nest))
    if word is None:
        return nest
    count = nest.inner
    for access in nest.accesses:
        if any(n % count for n in (access.offset, *access.outer)):
            return nest
    accesses = [
        Access(
            a.buffer, a.offset // count, tuple(s // count for s in a.outer[:-1]),
            a.outer[-1] // count, word,
        )
        for a in nest.accesses
    ]  # fmt: skip
    (load,) = nest.values
    assert isinstance(load, Load)
    return replace(
        nest, outer=nest.outer[:-1], inner=nest.outer[-1], accesses=accesses,
        values=[Load(load.access, word)],
    )  # fmt: skip
