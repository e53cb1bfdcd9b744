"""From IR text to callable machine code: emit an object, keep it on disk, link it by LLJIT."""

from __future__ import annotations

import itertools
import mmap
import os
import sys
import threading
from functools import cache
from typing import Any

from mlx.backend.llvm import disk
from mlx.backend.llvm.lazy import binding
from mlx.backend.llvm.target import host

_lock = threading.RLock()
_names = itertools.count()
counters = {"compiled": 0, "loaded": 0}
_EMITTING = (64 << 20,)
_LINKING = (1 << 20,) * 6
"""Mappings, in bytes, that LLVM may need: one for its heap, a few for the sections."""


class Library:
    """Linked machine code; symbols stay valid while the library is referenced."""

    __slots__ = ("_symbols", "_tracker")

    def __init__(self, tracker: Any, symbols: dict[str, int]) -> None:
        self._tracker = tracker
        self._symbols = symbols

    def address(self, symbol: str) -> int:
        return self._symbols[symbol]


@cache
def _target_machine() -> Any:
    target = host()
    llvm = binding()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="small"
    )


@cache
def _lljit() -> Any:
    """JITLink maps an object's sections as one block.  LLVM's other linker maps each by itself:
    where holes in the address space put them 2 GiB apart, or none is left, the process ends."""
    return binding().create_lljit_compiler(use_jit_link=sys.platform != "win32")


def _find_room(wanted: tuple[int, ...]) -> None:
    """Raise MemoryError where the system would refuse LLVM memory, for then LLVM ends the process.
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


def emit_object(text: str) -> bytes:
    """Compile IR text to a native object file."""
    llvm = binding()
    with _lock:
        _find_room(_EMITTING)
        module = llvm.parse_assembly(text)
        counters["compiled"] += 1
        return _target_machine().emit_object(module)


def link(image: bytes, symbols: list[str]) -> Library:
    """Load an object into this process."""
    llvm = binding()
    with _lock:
        builder = llvm.JITLibraryBuilder().add_object_img(image)
        for symbol in symbols:
            builder.export_symbol(symbol)
        _find_room(_LINKING)
        tracker = builder.link(_lljit(), f"kernels{next(_names)}")
        counters["loaded"] += 1
        return Library(tracker, {s: tracker[s] for s in symbols})


def compile_ir(text: str, symbols: list[str]) -> Library:
    """Compile and load IR text without the disk cache (for code made once a process)."""
    return link(emit_object(text), symbols)


def compile_cached(key: str, make_text: Any, symbols: list[str]) -> Library:
    """The library for ``key``: from disk if there, else compiled from ``make_text()``.

    A damaged or unlinkable object costs time, never a result: it is rebuilt.
    """
    image = disk.read(key)
    if image is not None:
        try:
            return link(image, symbols)
        except (RuntimeError, KeyError, ValueError):
            disk.discard(key)
    image = emit_object(make_text())
    disk.write(key, image)
    return link(image, symbols)
