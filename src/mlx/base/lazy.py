"""SciPy, loaded on first use: importing the framework must not cost its start-up."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any


@cache
def scipy_module(name: str) -> Any:
    """``scipy.<name>``."""
    return importlib.import_module(f"scipy.{name}")
