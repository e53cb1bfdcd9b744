"""Size classes, and where blocks come from: mappings, and regions that small ones share."""

from __future__ import annotations

import bisect
import ctypes
import mmap
import os
import threading
from collections.abc import Iterable
from typing import Any

_LARGE = 1 << 20  # from here on a block is a mapping of its own
_HUGE_PAGE = 2 << 20
_MOST_OF_PAGE = _HUGE_PAGE // 4 * 3
_REGION = 16 << 20


def size_class(nbytes: int) -> int:
    """Index of the smallest class that holds ``nbytes``.

    Multiples of 64 up to 1 KiB, then eight classes for each doubling.
    """
    if nbytes <= 1024:
        return (nbytes + 63) >> 6
    shift = (nbytes - 1).bit_length() - 4
    return 8 * shift - 47 + ((nbytes - 1) >> shift)


def class_bytes(index: int) -> int:
    """Capacity of a block of class ``index``."""
    if index <= 16:
        return max(index, 1) << 6
    shift, eighth = divmod(index - 17, 8)
    return (eighth + 9) << (shift + 7)


LAST_CLASS = size_class(1 << 63)
FIRST_LARGE = size_class(_LARGE)
CAPACITY = [class_bytes(index) for index in range(LAST_CLASS + 1)]

_lock = threading.Lock()  # guards _ranges
_mappings: dict[int, mmap.mmap] = {}  # by aligned address: regions and large blocks
_ranges: list[tuple[int, int]] = []  # (bytes, address) of uncarved memory, the largest last


def _map(nbytes: int, wanted: int) -> int:
    """A new private mapping of zeroed memory, aligned to huge pages, ``wanted`` bytes of which
    will be used first."""
    length = nbytes + _HUGE_PAGE
    if os.name == "posix":
        # private: a forked child must not write into its parent's arrays
        mapping = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    else:
        mapping = mmap.mmap(-1, length)
    start = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    address = -(-start // _HUGE_PAGE) * _HUGE_PAGE
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # the last huge page only if most of it is wanted
        huge = (wanted + _HUGE_PAGE - _MOST_OF_PAGE) // _HUGE_PAGE * _HUGE_PAGE
        if huge:
            mapping.madvise(mmap.MADV_HUGEPAGE, address - start, huge)
    _mappings[address] = mapping
    return address


def take(index: int, nbytes: int) -> int:
    """A block for ``nbytes`` from outside the cache.  Raises OSError when the system has no
    memory."""
    size = CAPACITY[index]
    if index >= FIRST_LARGE:
        return _map(size, nbytes)
    with _lock:
        if not _ranges or _ranges[-1][0] < size:
            _ranges[:] = sorted(_merged(_ranges))
        if not _ranges or _ranges[-1][0] < size:
            _ranges.append((_REGION, _map(_REGION, _REGION)))
        left, address = _ranges.pop()
        if left > size:
            bisect.insort(_ranges, (left - size, address + size))
        return address


def give_back(
    index: int,
    address: int,
    capacity: list[int] = CAPACITY,
    first_large: int = FIRST_LARGE,
    mappings: dict[int, mmap.mmap] = _mappings,
    lock: Any = _lock,
    ranges: list[tuple[int, int]] = _ranges,
    insort: Any = bisect.insort,
) -> bool:
    """Take a freed block out of circulation, where that is possible at once.

    Defaults instead of globals: this runs in finalizers, also while the process ends.
    """
    if index >= first_large:
        mappings.pop(address).close()
        return True
    if not lock.acquire(blocking=False):
        return False
    try:
        insort(ranges, (capacity[index], address))
    finally:
        lock.release()
    return True


def unmap(address: int) -> None:
    """Give a large block back to the system."""
    _mappings.pop(address).close()


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Adjacent ranges of one region as one range; (bytes, address)."""
    merged: list[tuple[int, int]] = []
    for size, address in sorted(ranges, key=lambda item: item[1]):
        if merged and sum(merged[-1]) == address and address not in _mappings:
            merged[-1] = (merged[-1][0] + size, merged[-1][1])
        else:
            merged.append((size, address))
    return merged


def _let_go(size: int, address: int) -> None:
    """Give the whole huge pages of an uncarved range back to the system; it stays mapped."""
    first = -(-address // _HUGE_PAGE) * _HUGE_PAGE
    stop = (address + size) // _HUGE_PAGE * _HUGE_PAGE
    if first < stop and hasattr(mmap, "MADV_DONTNEED"):
        mapping = _mappings[max(start for start in _mappings if start <= address)]
        begin = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        mapping.madvise(mmap.MADV_DONTNEED, first - begin, stop - first)


def rejoin(blocks: list[tuple[int, int]]) -> None:
    """Take small blocks (bytes, address) back; what lies wholly free goes to the system."""
    with _lock:
        merged = _merged(_ranges + blocks)
        for size, address in merged:
            if size == _REGION:
                unmap(address)
            else:
                _let_go(size, address)
        _ranges[:] = sorted(item for item in merged if item[0] != _REGION)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )
