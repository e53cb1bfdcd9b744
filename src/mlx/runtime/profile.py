"""Timing the kernels of an evaluation one by one: ``mx.explain`` and ``MLX_DEBUG``.

``MLX_DEBUG=1`` prints a line for each program that runs, ``MLX_DEBUG=2`` a line for each of
its kernels.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from array import array as words
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from mlx.base.frozen import dataclass
from mlx.base.lazy import LazyModule
from mlx.runtime import team
from mlx.runtime.limits import limits

if TYPE_CHECKING:
    from mlx.backend.llvm.abi import Command
    from mlx.backend.llvm.executable import Executable

abi = LazyModule("mlx.backend.llvm.abi")
programs = LazyModule("mlx.backend.llvm.programs")


@dataclass(frozen=True)
class KernelTime:
    """One kernel launch: seconds, bytes of its operands, floating-point operations."""

    label: str
    kind: str
    tasks: int
    seconds: float
    bytes: int
    flops: int

    @property
    def share(self) -> float:
        """Of the machine's limit: the time that its bytes or flops take at the least, over the
        time it took.  Operands in caches, or fast instructions for bfloat16, give more than 1."""
        return limits().share(self.seconds, self.bytes, self.flops)

    @property
    def row(self) -> tuple[str, ...]:
        rate = self.bytes / self.seconds / 1e9 if self.seconds else 0.0
        work = self.flops / self.seconds / 1e9 if self.seconds and self.flops else 0.0
        return (
            self.label[:48],
            self.kind,
            str(self.tasks),
            f"{self.seconds * 1e6:.1f}",
            f"{self.bytes / 1e6:.2f}",
            f"{rate:.1f}",
            f"{work:.1f}" if work else "",
            f"{self.share:.0%}",
        )


HEAD = ("kernel", "kind", "tasks", "us", "MB", "GB/s", "GFLOP/s", "of limit")


class Explanation:
    """The kernels that an evaluation ran; prints as a table, slowest kinds last.

    Attributes:
        kernels: in the order of execution.
        arena_bytes: temporary memory of each program.
    """

    def __init__(self) -> None:
        self.kernels: list[KernelTime] = []
        self.arena_bytes: list[int] = []

    @property
    def seconds(self) -> float:
        """Time of all kernels."""
        return sum(k.seconds for k in self.kernels)

    def __str__(self) -> str:
        rows = [HEAD, *(k.row for k in self.kernels)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
        lines = [_line(row, widths) for row in rows]
        arena = sum(self.arena_bytes) / 1e6
        lines.append(
            f"{len(self.kernels)} kernels, {self.seconds * 1e3:.3f} ms, "
            f"{arena:.2f} MB of temporary memory; the machine: {limits()}"
        )
        return "\n".join(lines)

    __repr__ = __str__


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [
        c.ljust(w) if i < 2 else c.rjust(w)
        for i, (c, w) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


active: list[Explanation] = []
LEVEL = int(os.environ.get("MLX_DEBUG") or 0)


def wanted() -> bool:
    """Whether programs should be run kernel by kernel."""
    return bool(active) or LEVEL > 0


@contextlib.contextmanager
def recording() -> Iterator[Explanation]:
    """Collect the kernels of all evaluations within a ``with`` block."""
    found = Explanation()
    active.append(found)
    try:
        yield found
    finally:
        active.remove(found)


def timed(program: Executable) -> Callable[[Any, words[int]], int]:
    """What runs a native segment of a program kernel by kernel."""
    return partial(_run_timed, program)


def _run_timed(program: Executable, segment: Any, bases: words[int]) -> int:
    found = Explanation()
    found.arena_bytes.append(program.arena_bytes)
    status = 0
    for command in _commands_of(program, segment):
        code = programs.kernel(command.spec)
        single = team.Program([(code.address("kernel"), command.consts, command.tasks)], keep=code)
        start = time.perf_counter()
        status = team.run(single, bases)
        seconds = time.perf_counter() - start
        kind = command.spec.key.split(" ", 1)[0].split("|", 1)[0]
        found.kernels.append(
            KernelTime(
                command.label, kind, command.tasks, seconds, command.moved(bases), command.flops
            )
        )
        if status:
            break
    for explanation in active:
        explanation.kernels += found.kernels
        explanation.arena_bytes += found.arena_bytes
    _print(found)
    return status


def _commands_of(program: Executable, segment: Any) -> list[Command]:
    """The commands of one native segment, between host calls."""
    groups: list[list[Any]] = [[]]
    for command in program.commands:
        if isinstance(command, abi.HostCall):
            groups.append([])
        else:
            groups[-1].append(command)
    native = [s for s in program.segments if not isinstance(s, abi.HostCall)]
    return [g for g in groups if g][native.index(segment)]


def _print(found: Explanation) -> None:
    if LEVEL >= 2:
        print(found, file=sys.stderr)
    elif LEVEL == 1:
        print(
            f"[mlx] {len(found.kernels)} kernels, {found.seconds * 1e3:.3f} ms, "
            f"{sum(k.bytes for k in found.kernels) / 1e6:.2f} MB",
            file=sys.stderr,
        )
