"""Accesses whose neighbours lie apart: which of them walk through the same runs of memory, and
which are better copied first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod

from mlx.compiler.nest import Access, Nest

SPARSE, FULL = 8, 16
"""Longest runs read or written whole: for any access, and where half of a run is wanted."""
MANY = 1 << 14
"""Fewest elements that are worth code of their own: the loop's serves every length."""
AGAIN = 16
"""Rows that read the same scattered elements so that a copy of these pays."""


def is_gathered_again(access: Access, outer: Sequence[int], inner: int) -> bool:
    """Whether many rows read the same elements, which lie far apart (a column of a matrix that is
    added to all rows of another)."""
    if access.buffer < 0 or -1 <= access.inner <= FULL or prod(outer) * inner < MANY:
        return False
    if access.outer and access.outer[-1] == 1:
        return False
    return prod(n for n, s in zip(outer, access.outer, strict=True) if not s) >= AGAIN


def sharing(nest: Nest, number: int, stored: Collection[int]) -> list[tuple[int, int]]:
    """(elements behind this access, access) of all that touch the same runs, in order."""
    access = nest.accesses[number]
    step = int(access.inner)
    near = [
        (int(gap), n)
        for n, other in enumerate(nest.accesses)
        if (n in stored) == (number in stored)
        and (other.buffer, other.dtype, other.inner) == (access.buffer, access.dtype, access.inner)
        and other.outer == access.outer
        and -step < (gap := other.offset - access.offset) < step
    ]
    near.sort()
    whole = near[-1][0] - near[0][0] < step
    return near if whole else [(0, number)]


def is_interleaved(nest: Nest, number: int, stored: Collection[int]) -> bool:
    """Whether whole registers are read or written for an access, and shuffled."""
    access = nest.accesses[number]
    if access.buffer < 0 or not 1 < access.inner <= FULL:
        return False
    return access.inner <= SPARSE or 2 * len(sharing(nest, number, stored)) >= access.inner
