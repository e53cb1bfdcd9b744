"""Modules loaded on first use: importing the framework must not wait for SciPy, for what only
an evaluation needs, or for what only files need."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any


class LazyModule:
    """Stands for a module, which is imported when one of its names is first read."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, value)  # from now on found without coming here
        return value


@cache
def scipy_module(name: str) -> Any:
    """``scipy.<name>``."""
    return importlib.import_module(f"scipy.{name}")
