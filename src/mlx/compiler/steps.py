"""Operands of kernels that are no nests, and the steps that updates in place are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
