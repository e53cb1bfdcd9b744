"""Accesses a few elements apart: which of them walk through the same runs of memory."""

from __future__ import annotations

from collections.abc import Collection

from mlx.compiler.nest import Nest

SPARSE, FULL = 8, 16
"""Longest runs read or written whole: for any access, and where half of a run is wanted."""


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
