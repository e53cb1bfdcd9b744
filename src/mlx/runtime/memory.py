"""The memory pool: 64-byte aligned blocks, kept by size class, with MLX's memory counters.

Sizes are rounded up to classes at most 12.5 % apart.  Blocks below 1 MiB are carved from
regions of 16 MiB; larger ones are mapped one by one, 2 MiB-aligned with huge pages advised.
A freed block goes back to the list of its class; these lists are the cache.

``Storage.__del__`` may run at any time, on any thread, also inside ``allocate``, so it must
not wait for a lock.  List ``append`` and ``pop`` are atomic, and CPython switches threads only
at calls and backward jumps, so ``counter += number`` is whole.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from typing import Any

from mlx.base.lazy import numpy as np
from mlx.runtime import regions
from mlx.runtime.regions import CAPACITY, FIRST_LARGE, LAST_CLASS

_FIT_CLASSES = 2  # a cached large block up to two classes (at most 1.27 times) larger is taken
_SLACK = 16 << 20  # cached at least, however little is in use
_SOME = 128 << 20  # in use before cycles of references are looked for

_free: list[list[int]] = [[] for _ in CAPACITY]


def _physical_memory() -> int:
    """RAM of the machine, or of the container where it has less."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        total = 16 << 30
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path) as file:
                total = min(total, int(file.read()))
        except (OSError, ValueError):
            continue
    return total


class _Counters:
    __slots__ = (
        "active", "peak", "cached", "limit", "cache_limit", "wired_limit", "mapped_peak",
        "searched",
    )  # fmt: skip

    def __init__(self) -> None:
        self.active = 0
        self.peak = 0
        self.cached = 0
        self.limit = _physical_memory() * 4 // 5
        self.cache_limit = self.limit
        self.wired_limit = 0
        self.mapped_peak = 0  # like peak, never reset: decides how much cache is worth keeping
        self.searched = _SOME  # beyond so many bytes in use, cycles are looked for again


_counters = _Counters()


class Storage:
    """A block of memory; it returns to the pool when nothing refers to it any more."""

    __slots__ = ("address", "nbytes", "_class", "__weakref__")

    def __init__(self, address: int, nbytes: int, index: int) -> None:
        self.address = address
        self.nbytes = nbytes
        self._class = index

    def __del__(
        self,
        free: list[list[int]] = _free,
        capacity: list[int] = CAPACITY,
        counters: _Counters = _counters,
        give_back: Any = regions.give_back,
    ) -> None:
        index = self._class
        size = capacity[index]
        counters.active -= size
        cached = counters.cached + size
        if cached > counters.cache_limit and give_back(index, self.address):
            return
        free[index].append(self.address)
        counters.cached += size

    def __repr__(self) -> str:
        return f"{type(self).__name__}(address={self.address:#x}, nbytes={self.nbytes})"


_new = Storage.__new__


class Foreign(Storage):
    """Memory that somebody else owns, kept alive through ``owner``; not counted."""

    __slots__ = ("owner",)
    owner: Any

    def __del__(self) -> None:  # type: ignore[override]
        """Nothing to give back: dropping the owner frees the memory."""


def allocate(nbytes: int) -> Storage:
    """A block of at least ``nbytes`` bytes, aligned to 64, with arbitrary content.

    Raises MemoryError beyond the memory limit, or when the system has none to give.

    >>> block = allocate(1000)
    >>> block.nbytes, block.address % 64
    (1000, 0)
    """
    # size_class, inlined: this is the hottest function of the runtime
    if nbytes <= 1024:
        index = (nbytes + 63) >> 6
    else:
        shift = (nbytes - 1).bit_length() - 4
        index = 8 * shift - 47 + ((nbytes - 1) >> shift)
    counters = _counters
    if index > LAST_CLASS or counters.active + CAPACITY[index] > counters.limit:
        _refuse(nbytes)
    size = CAPACITY[index]
    try:
        address = _free[index].pop()
        counters.cached -= size
    except IndexError:
        address, index = _find(index, nbytes)
        size = CAPACITY[index]
    active = counters.active = counters.active + size
    if active > counters.peak:
        counters.peak = active
    storage = _new(Storage)  # Storage(...), in half the time
    storage.address, storage.nbytes, storage._class = address, nbytes, index
    return storage


def allocate_all(sizes: Sequence[int]) -> list[Storage]:
    """A block for each size, as :func:`allocate` gives them; small ones in fewer steps."""
    counters, free = _counters, _free
    made: list[Storage] = []
    taken = 0
    try:
        for nbytes in sizes:
            if nbytes > 1024:
                made.append(allocate(nbytes))
                continue
            index = (nbytes + 63) >> 6
            try:
                address = free[index].pop()
            except IndexError:
                made.append(allocate(nbytes))
                continue
            taken += CAPACITY[index]
            storage = _new(Storage)
            storage.address, storage.nbytes, storage._class = address, nbytes, index
            made.append(storage)
    finally:
        counters.cached -= taken
        active = counters.active = counters.active + taken
        if active > counters.peak:
            counters.peak = active
    if taken and active > counters.limit:
        _refuse(taken)
    return made


def check_size(nbytes: int) -> None:
    """Raise MemoryError for a block that is larger than the memory limit."""
    if nbytes > _counters.limit:
        _refuse(nbytes)


def wrap(owner: Any, address: int, nbytes: int) -> Storage:
    """Foreign memory as a Storage that keeps ``owner`` alive."""
    storage = Foreign(address, nbytes, 0)
    storage.owner = owner
    return storage


class _View:
    """An array interface over a storage; NumPy keeps it, and so the storage, alive."""

    __slots__ = ("__array_interface__", "storage")

    def __init__(self, storage: Storage, address: int, shape: tuple[int, ...], kind: str) -> None:
        self.storage = storage
        self.__array_interface__ = {
            "data": (address, False),
            "shape": shape,
            "typestr": kind,
            "version": 3,
        }


def as_array(storage: Storage, address: int, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """The memory from an address on as a NumPy array (no copy) that keeps the storage alive."""
    return np.asarray(_View(storage, address, shape, kind))


def as_bytes(storage: Storage, offset: int = 0, nbytes: int | None = None) -> np.ndarray:
    """The memory as a uint8 NumPy array (no copy) that keeps the storage alive.

    >>> as_bytes(allocate(100)).shape
    (100,)
    """
    if nbytes is None:
        nbytes = storage.nbytes - offset
    return as_array(storage, storage.address + offset, (nbytes,), "|u1")


def _refuse(nbytes: int) -> None:
    raise MemoryError(
        f"[allocate] Cannot allocate {nbytes} bytes: {_counters.active} bytes are in use and "
        f"the memory limit is {_counters.limit} bytes (see set_memory_limit)."
    )


def _find(index: int, nbytes: int) -> tuple[int, int]:
    """Address and class of a block when its own list is empty."""
    counters = _counters
    size = CAPACITY[index]
    found = _fitting(index + 1, index)
    if found is None and _is_much(counters.active + size):
        _free_cycles(size)
        found = _fitting(index, index)
    if found is not None:
        return found
    # What is mapped may exceed the most that was ever in use by an eighth, so that changing
    # sizes don't pile up in the cache.
    counters.mapped_peak = max(counters.mapped_peak, counters.peak)
    most = max(counters.mapped_peak, counters.active + size)
    bound = min(most * 9 // 8 + _SLACK, counters.limit)
    if counters.active + counters.cached + size > bound:
        _trim(max(0, bound - counters.active - size))
    try:
        return regions.take(index, nbytes), index
    except (OSError, OverflowError):
        clear_cache()
    try:
        return regions.take(index, nbytes), index
    except (OSError, OverflowError):
        raise MemoryError(
            f"[allocate] Cannot allocate {nbytes} bytes: the system has no more memory; "
            f"{counters.active} bytes are in use."
        ) from None


def _fitting(first: int, index: int) -> tuple[int, int] | None:
    """Address and class of a cached large block, of class ``first`` or higher, for ``index``."""
    counters = _counters
    if index < FIRST_LARGE:
        return None
    for larger in range(first, min(index + _FIT_CLASSES, LAST_CLASS) + 1):
        if counters.active + CAPACITY[larger] > counters.limit:
            return None
        try:
            address = _free[larger].pop()
        except IndexError:
            continue
        counters.cached -= CAPACITY[larger]
        return address, larger
    return None


def _is_much(used: int) -> bool:
    """Whether so much would be in use that some may be in cycles of references."""
    counters = _counters
    if used <= counters.searched:
        counters.searched = max(min(counters.searched, 4 * used), _SOME)
        return False
    return True


def _free_cycles(size: int) -> None:
    """Collect young garbage, since arrays in cycles of references may be most of what is in use:
    Python counts objects, not what they weigh.  Next when half as much again is in use."""
    counters = _counters
    counters.searched = 1 << 62  # finalizers may allocate
    if gc.isenabled():
        gc.collect(1)
    counters.searched = (counters.active + size) * 3 // 2 + _SOME


def _trim(target: int) -> None:
    """Let go of cached blocks until at most ``target`` bytes are cached: small ones, all at once,
    if they are most of it, or too much without the large; these largest first."""
    counters = _counters
    small = sum([CAPACITY[i] * len(_free[i]) for i in range(FIRST_LARGE)])
    if small > min(target, counters.cached // 2):
        regions.rejoin(_uncache_small())
    for index in range(LAST_CLASS, FIRST_LARGE - 1, -1):
        while _free[index] and counters.cached > target:
            try:
                address = _free[index].pop()
            except IndexError:
                break
            counters.cached -= CAPACITY[index]
            regions.unmap(address)


def _uncache_small() -> list[tuple[int, int]]:
    """Empty the lists of small blocks; (bytes, address) of each."""
    blocks = []
    for index in range(FIRST_LARGE):
        for _ in range(len(_free[index])):
            try:
                address = _free[index].pop()
            except IndexError:
                break
            _counters.cached -= CAPACITY[index]
            blocks.append((CAPACITY[index], address))
    return blocks


def clear_cache() -> None:
    """Give cached memory back to the system."""
    _trim(0)
    # an interrupt between a list and its counter leaves them apart; here they meet again
    _counters.cached = sum(CAPACITY[i] * len(blocks) for i, blocks in enumerate(_free) if blocks)


def get_active_memory() -> int:
    """Bytes in use by arrays (blocks counted in full)."""
    return _counters.active


def get_peak_memory() -> int:
    """The most bytes in use at once since the start or ``reset_peak_memory``."""
    return _counters.peak


def reset_peak_memory() -> None:
    """Let the peak start again from what is in use now."""
    _counters.mapped_peak = max(_counters.mapped_peak, _counters.peak)
    _counters.peak = _counters.active


def get_cache_memory() -> int:
    """Bytes in blocks that are free for reuse."""
    return _counters.cached


def get_memory_limit() -> int:
    """Bytes in use beyond which ``allocate`` raises MemoryError."""
    return _counters.limit


def _checked(name: str, limit: Any) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(
            f"[{name}] limit must be an integer number of bytes, not {type(limit).__name__}."
        )
    if limit < 0:
        raise ValueError(f"[{name}] limit must not be negative, got {limit}.")
    return limit


def set_memory_limit(limit: int) -> int:
    """Set the limit of memory in use, in bytes; returns the previous one."""
    previous, _counters.limit = _counters.limit, _checked("set_memory_limit", limit)
    return previous


def set_cache_limit(limit: int) -> int:
    """Set the limit of cached memory, in bytes; returns the previous one."""
    previous, _counters.cache_limit = _counters.cache_limit, _checked("set_cache_limit", limit)
    if _counters.cached > _counters.cache_limit:
        clear_cache()
    return previous


def set_wired_limit(limit: int) -> int:
    """Kept for compatibility: on the CPU nothing is wired; returns the previous value."""
    previous, _counters.wired_limit = _counters.wired_limit, _checked("set_wired_limit", limit)
    return previous
