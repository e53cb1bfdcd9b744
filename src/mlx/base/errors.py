"""Exceptions of our own."""

from __future__ import annotations


class AxisError(ValueError, IndexError):
    """An axis that an array does not have (a ValueError and an IndexError)."""
