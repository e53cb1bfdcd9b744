"""What layers and losses say of arguments that are none."""

from __future__ import annotations

import operator
from typing import Any

import mlx.core as mx


def need_arrays(name: str, *values: Any) -> None:
    """Raise TypeError unless all values are arrays, or at least have a shape as these do."""
    for value in values:
        if type(value) is not mx.array and not isinstance(getattr(value, "shape", None), tuple):
            raise TypeError(f"[{name}] Expected arrays, got {type(value).__name__}.")


def positive(name: str, size: Any) -> int:
    """Return a number of features, heads or groups; TypeError or ValueError unless it is one."""
    try:
        found = operator.index(size)
    except TypeError:
        kind = type(size).__name__
        raise TypeError(f"[{name}] A size must be an integer, got {kind}.") from None
    if not 0 < found < 1 << 63:
        raise ValueError(f"[{name}] A size must be positive, got {found}.")
    return found
