"""Whether the system would grant LLVM memory: LLVM ends the process where it gets none."""

from __future__ import annotations

import mmap
import os


def find_room(wanted: tuple[int, ...]) -> None:
    """Raise MemoryError where the system would refuse mappings of so many bytes.
    Neighbours differ in their protection, or the system would count them as one mapping."""
    if os.name != "posix":
        return
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    held = []
    try:
        for i, size in enumerate(wanted):
            access = mmap.PROT_READ | (i & 1) * mmap.PROT_WRITE
            held.append(mmap.mmap(-1, size, flags, access))
    except OSError as error:
        raise MemoryError(
            "[eval] Cannot compile: the system refuses memory for machine code "
            f"({error.strerror}); see `ulimit -v` and, on Linux, vm.max_map_count."
        ) from error
    finally:
        for mapping in held:
            mapping.close()
