"""From IR text to callable machine code: emit an object, keep it on disk, link it by LLJIT."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlx.backend.llvm import disk
from mlx.backend.llvm.emission import Emission, emit_object
from mlx.backend.llvm.lazy import binding
from mlx.backend.llvm.room import find_room

_lock = threading.RLock()
_names = itertools.count()
counters = {"compiled": 0, "loaded": 0}
_LINKING = (1 << 20,) * 6
"""Mappings, in bytes, that LLVM may need for the sections of an object."""
LINKS = 128
_linkers: list[Any] = []
"""The one in use."""
_routines: dict[str, Library] = {}
"""What kernels share, by symbol; there are few, and they stay."""


@dataclass(frozen=True)
class Source:
    """IR text, and the texts of the routines that it declares, by their names."""

    text: str
    routines: Mapping[str, Callable[[], str]] = field(default_factory=dict)


class Library:
    """Linked machine code; symbols stay valid while the library is referenced."""

    __slots__ = ("_symbols", "_tracker")

    def __init__(self, tracker: Any, symbols: dict[str, int]) -> None:
        self._tracker = tracker
        self._symbols = symbols

    def address(self, symbol: str) -> int:
        return self._symbols[symbol]


def _linker() -> Any:
    """What links next; for whoever holds the lock.

    A linker keeps 8 KB or more a link, also when the code is gone; so there is another one after
    some links, and each goes with the last code that it linked.
    """
    if not _linkers or counters["loaded"] % LINKS == 0:
        _linkers[:] = [_new_linker()]
    return _linkers[0]


def _new_linker() -> Any:
    """JITLink maps an object's sections as one block.  LLVM's other linker maps each by itself:
    where holes in the address space put them 2 GiB apart, or none is left, the process ends."""
    return binding().create_lljit_compiler(use_jit_link=sys.platform != "win32")


def link(image: bytes, symbols: list[str], routines: Mapping[str, int] | None = None) -> Library:
    """Load an object into this process; it calls ``routines``, which lie at these addresses."""
    llvm = binding()
    with _lock:
        builder = llvm.JITLibraryBuilder().add_object_img(image)
        for symbol in symbols:
            builder.export_symbol(symbol)
        for symbol, address in (routines or {}).items():
            builder.import_symbol(symbol, address)
        find_room(_LINKING)
        linker = _linker()
        tracker = builder.link(linker, f"kernels{next(_names)}")
        tracker.linker = linker  # which must live longer
        counters["loaded"] += 1
        return Library(tracker, {s: tracker[s] for s in symbols})


def compile_ir(text: str, symbols: list[str]) -> Library:
    """Compile and load IR text without the disk cache (for code made once a process)."""
    counters["compiled"] += 1
    return link(emit_object(text), symbols)


def compile_cached(key: str, make_text: Callable[[], str], symbols: list[str]) -> Library:
    """The library for ``key``: from disk if there, else compiled from ``make_text()``."""
    return dict(compile_all({key: lambda: Source(make_text())}, symbols, 1))[key]


def compile_all(
    sources: Mapping[str, Callable[[], Source]], symbols: list[str], threads: int
) -> Iterator[tuple[str, Library]]:
    """The keys and their libraries: from disk where they are there, else compiled, on several
    threads.  A damaged or unlinkable object costs time, never a result: it is rebuilt."""
    missing = []
    for key in sources:
        library = loaded(key, symbols)
        if library is None:
            missing.append(key)
        else:
            yield key, library
    if not missing:
        return
    names: dict[str, list[str]] = {}
    wanted: set[str] = set()
    with Emission(threads) as emission:
        for key in missing:
            source = sources[key]()
            names[key] = list(source.routines)
            emission.add(key, source.text)
            for name, make in source.routines.items():
                if name not in wanted and _routine(name) is None:
                    wanted.add(name)
                    emission.add(name, make())
        objects = emission.objects()
    counters["compiled"] += len(objects)
    for name in wanted:
        disk.write(name, b"\0" + objects[name])
        _routines.setdefault(name, link(objects[name], [name]))
    for key in missing:
        disk.write(key, "\n".join(names[key]).encode() + b"\0" + objects[key])
        yield key, link(objects[key], symbols, _addresses(names[key]))


def _addresses(names: list[str]) -> dict[str, int]:
    return {name: _routines[name].address(name) for name in names}


def _routine(name: str) -> Library | None:
    """A routine that kernels share: from memory, or from disk."""
    found = _routines.get(name)
    if found is None:
        library = loaded(name, [name])
        if library is not None:  # addresses in use are those of the first that was linked
            found = _routines.setdefault(name, library)
    return found


def loaded(key: str, symbols: list[str]) -> Library | None:
    """The library for a key from disk, where it and the routines that it calls are there."""
    stored = disk.read(key)
    if stored is None:
        return None
    listed, _, image = stored.partition(b"\0")
    try:
        names = listed.decode().split()
        if any(_routine(name) is None for name in names):
            return None
        return link(image, symbols, _addresses(names))
    except (RuntimeError, KeyError, ValueError):
        disk.discard(key)
        return None
