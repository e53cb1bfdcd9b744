"""The kernels that are in this process, by the keys of their specifications."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from mlx.backend.llvm import jit

KERNELS = 8192
_kernels: OrderedDict[str, jit.Library] = OrderedDict()


def kernels(
    sources: Mapping[str, Callable[[], jit.Source]], threads: int
) -> dict[str, jit.Library]:
    """Kernels by their keys: from memory, from disk, or compiled now, which ``threads`` share."""
    found = {key: _kernels[key] for key in sources if key in _kernels}
    missing = {key: source for key, source in sources.items() if key not in found}
    if missing:
        for key, library in jit.compile_all(missing, ["kernel"], threads):
            found[key] = library
            _keep(key, library)
    return found


def loaded(keys: Sequence[str]) -> list[jit.Library] | None:
    """Kernels that were compiled before; None where one is neither in memory nor on disk."""
    found = []
    for key in keys:
        library = _kernels.get(key)
        if library is None:
            library = jit.loaded(key, ["kernel"])
            if library is None:
                return None
            _keep(key, library)
        found.append(library)
    return found


def _keep(key: str, library: jit.Library) -> None:
    _kernels[key] = library
    if len(_kernels) > KERNELS:
        _kernels.popitem(last=False)
