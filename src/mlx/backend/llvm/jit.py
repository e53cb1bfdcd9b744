"""From IR text to callable machine code: emit an object, keep it on disk, link it by LLJIT."""

from __future__ import annotations

import itertools
import threading
from functools import cache
from typing import Any

from mlx.backend.llvm import disk
from mlx.backend.llvm.lazy import binding
from mlx.backend.llvm.target import host

_lock = threading.RLock()
_names = itertools.count()
counters = {"compiled": 0, "loaded": 0}


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
    return binding().create_lljit_compiler(use_jit_link=False)


def emit_object(text: str) -> bytes:
    """Compile IR text to a native object file."""
    llvm = binding()
    with _lock:
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
