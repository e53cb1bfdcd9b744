"""array: the handle that users hold, with construction, conversion and printing."""

from mlx.array.handle import array, wrap

__all__ = ["array", "wrap"]
