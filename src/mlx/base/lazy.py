"""Modules loaded on first use: importing the framework must not wait for NumPy and SciPy, for what
only an evaluation needs, or for what only files need."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from functools import cache
from importlib.machinery import ExtensionFileLoader, PathFinder
from typing import TYPE_CHECKING, Any


class LazyModule:
    """Stands for a module, which is imported when one of its names is first read."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, value)  # from now on found without coming here
        return value


class _Kinds:
    """NumPy's classes for isinstance, by name; while nobody has imported NumPy nothing is one."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(sys.modules.get("numpy"), name, None)
        if found is None:
            return ()
        setattr(self, name, found)
        return found


if TYPE_CHECKING:
    import numpy as numpy
    import numpy as numpy_kinds
else:
    numpy = LazyModule("numpy")
    numpy_kinds = _Kinds()
ml_dtypes: Any = LazyModule("ml_dtypes")


@cache
def scipy_file(name: str) -> str | None:
    """The file of the extension module ``scipy.<name>``, found without an import."""
    package = importlib.util.find_spec("scipy")
    parents = name.split(".")[:-1]
    places = [
        os.path.join(p, *parents) for p in (package and package.submodule_search_locations) or ()
    ]
    found = PathFinder.find_spec(f"scipy.{name}", places)
    is_extension = found is not None and isinstance(found.loader, ExtensionFileLoader)
    return found.origin if found and is_extension else None


@cache
def scipy_module(name: str) -> Any:
    """``scipy.<name>``."""
    return importlib.import_module(f"scipy.{name}")
