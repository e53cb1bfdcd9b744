"""How kernels are called, and the records that a compiled program is made of.

Every kernel is ``void kernel(i64* consts, i64* bases, i64 task, i64 worker)``.  ``consts`` is
the command's own immutable block of numbers; ``bases`` holds this run's buffer addresses.  A
pointer operand takes two consts: an index into ``bases`` and an offset in bytes.
``bases[0]`` is the status block: a kernel that finds an error writes its code to
``status[0]`` and details behind it, and the program stops before the next command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.values import Value, i64

STATUS = 0
FIRST = 3
"""The first of a program's own bases: before it the status block, zero and the arena."""
GATHER, SCATTER = 1, 2
"""Status codes; details are the index, the axis size and the window's width."""


class Address(int):
    """A const that means something in this process alone: the address of what has a name."""

    name: str

    def __new__(cls, value: int, name: str) -> Address:
        made = super().__new__(cls, value)
        made.name = name
        return made


class KernelSpec(Protocol):
    """What to generate: equal keys mean the same machine code."""

    @property
    def key(self) -> str:
        """A stable text that decides the generated code (the name in the disk cache)."""

    def emit(self, module: Module, name: str) -> None:
        """Write the function ``name`` into ``module``."""


@dataclass(slots=True)
class Command:
    """One kernel launch: ``tasks`` independent calls of the kernel with the same consts."""

    spec: KernelSpec
    consts: Sequence[int]
    tasks: int
    label: str = ""
    bytes: int = 0
    flops: int = 0
    between: tuple[Pointer, Pointer] | None = None
    """Of a copy: where from and where to.  If that is one address it does nothing."""

    def moved(self, bases: Sequence[int]) -> int:
        """The bytes that it moves in a run."""
        if self.between is not None:
            source, target = (bases[p.base] + p.offset for p in self.between)
            return 0 if source == target else self.bytes
        return self.bytes


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where an operand lives: index into ``bases`` and offset in bytes; two consts."""

    base: int
    offset: int = 0

    @property
    def consts(self) -> tuple[int, int]:
        return (self.base, self.offset)


class Kernel:
    """A function with the kernel ABI under construction, and access to its consts."""

    def __init__(self, module: Module, name: str) -> None:
        self.f: Function = module.function(
            name, ["ptr noalias readonly", "ptr noalias readonly", "i64", "i64"]
        )
        self.consts, self.bases, self.task, self.worker = self.f.params
        self._cache: dict[int, Value] = {}

    def const(self, slot: int) -> Value:
        """The i64 const of a slot (loaded once; first use must dominate later ones)."""
        value = self._cache.get(slot)
        if value is None:
            value = self.f.load(self.f.gep(self.consts, i64(slot), "i64"), "i64", 8)
            self._cache[slot] = value
        return value

    def pointer(self, slot: int) -> Value:
        """The address made of consts ``slot`` (base index) and ``slot + 1`` (offset)."""
        f = self.f
        base = f.load(f.gep(self.bases, self.const(slot), "i64"), "ptr", 8)
        return f.gep(base, self.const(slot + 1))

    def fail(self, code: Value, *details: Value) -> None:
        """Store an error code and details in the status block."""
        f = self.f
        status = f.load(f.gep(self.bases, i64(STATUS), "i64"), "ptr", 8)
        for position, detail in enumerate(details):
            f.store(detail, f.gep(status, i64(position + 1), "i64"), 8)
        f.store(code, status, 8)


@dataclass(frozen=True, slots=True)
class Operand:
    """A strided array as a kernel sees it; strides in elements."""

    pointer: Pointer
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(slots=True)
class HostCall:
    """A step that runs in Python between native segments: SciPy's LAPACK and FFT."""

    primitive: Any
    inputs: Sequence[Operand]
    outputs: Sequence[Operand]
    label: str = ""
