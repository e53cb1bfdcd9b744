"""The kernels that are in this process, by the keys of their specifications."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

from mlx.backend.llvm import jit

KERNELS = 4096
_allowed = [2 * KERNELS]
"""Kernels that may be in this process, those of programs included."""
_kernels: OrderedDict[str, jit.Library] = OrderedDict()


def symbol(key: str) -> str:
    """What a kernel is called in its object: no two alike, so that many are linked together."""
    return f"kernel_{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}"


def kernels(
    sources: Mapping[str, Callable[[], jit.Source]], threads: int
) -> dict[str, jit.Library]:
    """Kernels by their keys: from memory, from disk, or compiled now, which ``threads`` share."""
    found, missing = _at_hand(sources)
    if missing:
        made = jit.compile_all({key: sources[key] for key in missing}, _exports, threads)
        for key, library in made:
            found[key] = library
            _keep(key, library)
    return found


def loaded(keys: Sequence[str]) -> list[jit.Library] | None:
    """Kernels that were compiled before; None where one is neither in memory nor on disk."""
    found, missing = _at_hand(keys)
    for key, library in jit.loaded(missing, _exports):
        found[key] = library
        _keep(key, library)
    return [found[key] for key in keys] if len(found) == len(set(keys)) else None


def crowded() -> bool:
    """Whether programs keep so many kernels that it is time to forget them."""
    return jit.counters["alive"] > _allowed[0]


def forget() -> None:
    """Let go of all kernels; what somebody keeps nevertheless may double before it is crowded."""
    _kernels.clear()
    _allowed[0] = max(2 * KERNELS, 2 * jit.counters["alive"])


def _exports(key: str) -> dict[str, str]:
    return {"kernel": symbol(key)}


def _at_hand(keys: Iterable[str]) -> tuple[dict[str, jit.Library], list[str]]:
    """Those that are in memory, now those used last, and the others."""
    found, missing = {}, dict[str, None]()
    for key in keys:
        library = _kernels.get(key)
        if library is None:
            missing[key] = None
        else:
            found[key] = library
            _kernels.move_to_end(key)
    return found, list(missing)


def _keep(key: str, library: jit.Library) -> None:
    _kernels[key] = library
    if len(_kernels) > KERNELS:
        _kernels.popitem(last=False)
