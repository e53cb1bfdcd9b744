"""Exceptions of our own."""

from __future__ import annotations


class AxisError(ValueError, IndexError):
    """An axis that an array does not have (a ValueError and an IndexError)."""


class OperandError(TypeError, ValueError):
    """What is no operand (a TypeError and a ValueError)."""


class DtypeError(ValueError, RuntimeError):
    """A dtype that an operation is not defined for (a ValueError and a RuntimeError)."""


class MissingFileError(FileNotFoundError, RuntimeError):
    """A file that is not there (a FileNotFoundError and, as in MLX, a RuntimeError)."""


class DamagedFileError(ValueError, RuntimeError):
    """A file that is not what its name says (a ValueError and a RuntimeError)."""


class MatrixError(ValueError, RuntimeError):
    """A matrix that has no such inverse or factors (a ValueError and a RuntimeError)."""
