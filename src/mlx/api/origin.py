"""Whose code a module holds: Python's and packages', ours, or the user's."""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

from mlx.array import array


@functools.lru_cache(maxsize=4096)
def is_users(kind: type) -> bool:
    """Whether no code but the user's knows the names of a class's attributes."""
    return not any(
        is_foreign(base.__module__) or is_ours(base.__module__)
        for base in kind.__mro__
        if base not in (object, dict) and base.__name__ != "Module"
    )


@functools.lru_cache(maxsize=4096)
def is_foreign(module: str) -> bool:
    """Whether instances of a module's classes are taken as they are: those of the standard
    library, and of installed packages that don't use mlx (a tokenizer may hold millions)."""
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names or root in ("numpy", "ml_dtypes"):
        return root != "__main__"
    found = sys.modules.get(module)
    installed = "site-packages" in (getattr(found, "__file__", None) or "")
    return found is not None and installed and not knows_arrays(vars(found))


@functools.lru_cache(maxsize=4096)
def is_ours(module: str | None) -> bool:
    return module is not None and (module == "mlx" or module.startswith("mlx."))


_array_modules: dict[str, bool] = {}


def knows_arrays(namespace: dict[str, Any]) -> bool:
    """Whether a module holds arrays, or imports mlx: only functions there are followed."""
    name = namespace.get("__name__", "")
    known = _array_modules.get(name)
    if known is None or not known:
        known = any(_of_mlx(value) for value in list(namespace.values()))
        _array_modules[name] = known
    return known


def _of_mlx(value: Any) -> bool:
    if isinstance(value, (types.ModuleType, types.FunctionType, type)):
        name = value.__name__ if isinstance(value, types.ModuleType) else value.__module__
        return is_ours(name)
    return type(value) is array
