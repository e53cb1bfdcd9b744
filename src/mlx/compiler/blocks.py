"""Nests that only move runs of neighbours: as single words, or as blocks of bytes."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from mlx.base import dtype as dt
from mlx.compiler.nest import Access, Load, Nest
from mlx.compiler.runs import MANY, SPARSE

MOST = 128
"""Bytes of a run that is moved as a block: in at most two registers."""
SHUFFLED = 24
"""Bytes of runs up to which those that lie near each other are better read in whole registers."""
_WORDS = {2: dt.uint16, 4: dt.uint32, 8: dt.uint64}


def run_bytes(nest: Nest) -> int:
    """Bytes of the runs of neighbours that a nest copies one by one; 0 if it does other things,
    or too little for code of its own."""
    if nest.columns is not None or nest.split or not nest.outer or len(nest.accesses) != 2:
        return 0
    source, target = _ends(nest)
    if source is None or nest.stores[0][1] != target:
        return 0
    if any(a.buffer < 0 or a.inner != 1 for a in nest.accesses):
        return 0
    size = nest.accesses[source].dtype.size  # type: ignore[union-attr]
    if nest.inner * size > MOST or nest.inner < 2 or prod(nest.outer) * nest.inner < MANY:
        return 0
    return int(nest.inner) * size


def _ends(nest: Nest) -> tuple[int | None, int]:
    """The access that is read and the one that is written, of a copy."""
    match nest.values, nest.stores:
        case [Load(access=source)], [(0, target)] if source != target:
            return source, target
    return None, 0


def moves_blocks(nest: Nest) -> bool:
    """Whether a kernel moves runs in registers of their own: nothing is shuffled."""
    nbytes = run_bytes(nest)
    return nbytes > SHUFFLED or any(abs(a.outer[-1]) > SPARSE for a in nest.accesses if nbytes)


def in_words(nest: Nest) -> Nest:
    """A copy of runs that are as long as a word as one of words, where strides can say it."""
    nbytes = run_bytes(nest)
    word = _WORDS.get(nbytes)
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
