"""The public API."""

from mlx.array import array

__all__ = ["array"]
