"""array: the handle that users hold, what it is made from, and what can be made from it."""

from __future__ import annotations

from mlx.array.handle import ArrayAt, ArrayIterator, array, wrap

__all__ = ["ArrayAt", "ArrayIterator", "array", "wrap"]
