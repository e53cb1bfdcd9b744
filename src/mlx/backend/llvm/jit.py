"""From IR text to callable machine code: emit objects, keep them on disk, link them by LLJIT."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlx.backend.llvm import disk
from mlx.backend.llvm.emission import Emission, emit_object
from mlx.backend.llvm.lazy import binding
from mlx.backend.llvm.room import find_room

_lock = threading.RLock()
_names = itertools.count()
counters = {"compiled": 0, "loaded": 0, "alive": 0}
_LINKING = (1 << 20,) * 6
"""Mappings, in bytes, that LLVM may need for the sections of an object."""
LINKS = 128
BATCH = 16
"""Objects that are linked together.  A link takes 34 KB beside the code, which goes with the last
of its objects."""
Exports = Callable[[str], Mapping[str, str]]
"""What users call the symbols of a key's object, and what they are called there, where no other
object that is linked with it may have any by these names."""
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
        counters["alive"] += 1

    def __del__(self, counters: dict[str, int] = counters) -> None:
        counters["alive"] -= 1

    def address(self, symbol: str) -> int:
        return self._symbols[symbol]


def _linker(number: int) -> Any:
    """What links next, the link of that number; for whoever holds the lock.

    A linker keeps 8 KB or more a link, also when the code is gone; so there is another one after
    some links, and each goes with the last code that it linked.
    """
    if not _linkers or number % LINKS == 0:
        _linkers[:] = [_new_linker()]
    return _linkers[0]


def _new_linker() -> Any:
    """JITLink maps an object's sections as one block.  LLVM's other linker maps each by itself:
    where holes in the address space put them 2 GiB apart, or none is left, the process ends."""
    return binding().create_lljit_compiler(use_jit_link=sys.platform != "win32")


def link(image: bytes, symbols: list[str], routines: Mapping[str, int] | None = None) -> Library:
    """Load an object into this process; it calls ``routines``, which lie at these addresses."""
    return _link([(image, _same(symbols))], routines or {})[0]


def _link(
    objects: Sequence[tuple[bytes, Mapping[str, str]]], routines: Mapping[str, int]
) -> list[Library]:
    """Load objects into this process, together, each with its symbols by what users call them."""
    llvm = binding()
    with _lock:
        builder = llvm.JITLibraryBuilder()
        for image, symbols in objects:
            builder.add_object_img(image)
            for symbol in symbols.values():
                builder.export_symbol(symbol)
        for symbol, address in routines.items():
            builder.import_symbol(symbol, address)
        find_room(_LINKING * len(objects))
        number = next(_names)
        linker = _linker(number)
        tracker = builder.link(linker, f"kernels{number}")
        tracker.linker = linker  # which must live longer
        counters["loaded"] += len(objects)
        return [
            Library(tracker, {name: tracker[symbol] for name, symbol in symbols.items()})
            for _, symbols in objects
        ]


def _same(symbols: Sequence[str]) -> dict[str, str]:
    return dict(zip(symbols, symbols, strict=True))


def compile_ir(text: str, symbols: list[str]) -> Library:
    """Compile and load IR text without the disk cache (for code made once a process)."""
    counters["compiled"] += 1
    return link(emit_object(text), symbols)


def compile_cached(key: str, make_text: Callable[[], str], symbols: list[str]) -> Library:
    """The library for ``key``: from disk if there, else compiled from ``make_text()``."""
    sources = {key: lambda: Source(make_text())}
    return dict(compile_all(sources, lambda key: _same(symbols), 1))[key]


def compile_all(
    sources: Mapping[str, Callable[[], Source]], exports: Exports, threads: int
) -> Iterator[tuple[str, Library]]:
    """The keys and their libraries: from disk where they are there, else compiled, on several
    threads.  A damaged or unlinkable object costs time, never a result: it is rebuilt."""
    missing = dict.fromkeys(sources)
    for key, library in loaded(list(sources), exports):
        del missing[key]
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
    yield from _linked({key: (names[key], objects[key]) for key in missing}, exports)


def loaded(keys: Sequence[str], exports: Exports) -> Iterator[tuple[str, Library]]:
    """Of these keys, those whose objects, and the routines that they call, are on disk, and
    their libraries."""
    stored = {}
    for key in keys:
        if (found := _stored(key)) is not None:
            stored[key] = found
    return _linked(stored, exports, disk.discard)


def _stored(key: str) -> tuple[list[str], bytes] | None:
    """The routines that a key's object on disk calls, where all are there, and the object."""
    stored = disk.read(key)
    if stored is None:
        return None
    listed, _, image = stored.partition(b"\0")
    try:
        names = listed.decode().split()
    except ValueError:
        disk.discard(key)
        return None
    return None if any(_routine(name) is None for name in names) else (names, image)


def _linked(
    objects: Mapping[str, tuple[list[str], bytes]],
    exports: Exports,
    refuse: Callable[[str], None] | None = None,
) -> Iterator[tuple[str, Library]]:
    """Link objects by their keys, each with the routines that it calls; those that can't be
    linked are left out, if something will ``refuse`` them."""
    every = list(objects)
    for start in range(0, len(every), BATCH):
        keys = every[start : start + BATCH]
        try:
            libraries = _link_keys(keys, objects, exports)
        except (RuntimeError, KeyError, MemoryError):
            libraries = [_link_alone(key, objects, exports, refuse) for key in keys]
        for key, library in zip(keys, libraries, strict=True):
            if library is not None:
                yield key, library


def _link_keys(
    keys: list[str], objects: Mapping[str, tuple[list[str], bytes]], exports: Exports
) -> list[Library | None]:
    names = {name for key in keys for name in objects[key][0]}
    routines = {name: _routines[name].address(name) for name in names}
    return [*_link([(objects[key][1], exports(key)) for key in keys], routines)]


def _link_alone(
    key: str,
    objects: Mapping[str, tuple[list[str], bytes]],
    exports: Exports,
    refuse: Callable[[str], None] | None,
) -> Library | None:
    try:
        return _link_keys([key], objects, exports)[0]
    except (RuntimeError, KeyError):
        if refuse is None:
            raise
        refuse(key)
        return None


def _routine(name: str) -> Library | None:
    """A routine that kernels share: from memory, or from disk."""
    found = _routines.get(name)
    if found is None:
        for _, library in loaded([name], lambda key: {key: key}):
            # addresses in use are those of the first that was linked
            found = _routines.setdefault(name, library)
    return found
