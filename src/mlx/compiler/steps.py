"""What a plan consists of: its steps, with their operands at concrete strides, and buffers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlx.compiler.nest import Access, Expression, Nest
from mlx.graph.node import Node


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
    time, because the second took over the first's.

    ``runs``, if given, need not be copied, as what they hold is written next: where the first of
    them starts, from where to where the next is, the length of each (in bytes), and how many.
    """

    source: int
    target: int
    nbytes: int
    label: str = ""
    runs: tuple[int, int, int, int] | None = None


@dataclass(slots=True)
class CheckStep:
    """Whether all indices are in bounds, before anything is written that can't be taken back.

    ``bounds`` has the size of the axis and the width of the window for each index array.
    ``ends``, if given, are two buffers: only where both have the same memory is anything at stake.
    """

    primitive: Any
    indices: list[Strided]
    bounds: list[tuple[int, int]]
    label: str = "check"
    ends: tuple[int, int] | None = None


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


@dataclass(slots=True)
class BufferPlan:
    """Memory of one node: ``leaf`` (position among leaves), ``output`` or ``temp``; ``merged`` is
    what got the memory of another one, which stands for both."""

    kind: str
    nbytes: int
    position: int = 0
    first: int = 1 << 60
    last: int = -1


@dataclass(slots=True)
class NestStep:
    """A rows or columns kernel."""

    nest: Nest
    label: str = ""


@dataclass(slots=True)
class MoveStep:
    """Copies of runs, or zeros, to places of one buffer that don't overlap: one kernel."""

    nests: list[Nest]
    label: str = ""


@dataclass(slots=True)
class OpaqueStep:
    """A primitive with a kernel of its own."""

    primitive: Any
    inputs: list[Strided]
    outputs: list[Strided]
    label: str = ""
    checked: bool = False
    """Whether a step before has found all its indices in bounds."""


Step = NestStep | MoveStep | GemmStep | OpaqueStep | CopyStep | CheckStep


@dataclass(slots=True)
class Plan:
    """What the backend turns into a program."""

    steps: list[Step] = field(default_factory=list)
    buffers: list[BufferPlan] = field(default_factory=list)
    leaves: list[Node] = field(default_factory=list)
    scalars: list[Node] = field(default_factory=list)
    outputs: dict[Node, tuple[int, int]] = field(default_factory=dict)
    """For each output node: buffer and offset in bytes."""
    found: tuple[list[int], ...] = ()
    """What attempts found: see ``make_plan``."""
