"""Steps of contractions and of updates in place, and operands of kernels that are no nests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlx.compiler.nest import Access, Expression


@dataclass(slots=True)
class Strided:
    """An operand of a kernel that is not a nest: buffer, dtype, shape, element strides."""

    buffer: int
    offset: int
    dtype: Any
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(slots=True)
class CopyStep:
    """The content of one buffer into another; nothing where both have the same memory at run
    time, because the second took over the first's."""

    source: int
    target: int
    nbytes: int
    label: str = ""


@dataclass(slots=True)
class CheckStep:
    """Whether all indices are in bounds, before anything is written that can't be taken back.

    ``bounds`` has the size of the axis and the width of the window for each index array.
    """

    primitive: Any
    indices: list[Strided]
    bounds: list[tuple[int, int]]
    label: str = "check"


@dataclass(slots=True)
class GemmStep:
    """A contraction with its epilogue: ``shape`` and values over [batch..., row, column]."""

    primitive: Any
    a: Strided
    b: Strided
    shape: tuple[int, ...]
    depth: int
    values: list[Expression]
    accesses: list[Access]
    stores: list[tuple[int, int]]
    arguments: list[int]
    label: str = ""
