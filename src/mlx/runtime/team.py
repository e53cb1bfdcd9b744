"""Programs and their execution by a team of threads, in order of submission."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from mlx.backend.llvm.executor import SYMBOLS, executor_ir
from mlx.backend.llvm.jit import Library, compile_cached

_I64 = ctypes.c_int64


@cache
def _library() -> Library:
    return compile_cached("executor", executor_ir, SYMBOLS)


@cache
def _run_inline() -> Any:
    prototype = ctypes.PYFUNCTYPE(_I64, _I64, _I64, _I64)
    return prototype(_library().address("run_inline"))


class Program:
    """A table of commands and the constants of each; immutable, may run many times at once."""

    __slots__ = ("small", "_consts", "_table", "_address", "_count")

    def __init__(
        self, commands: Iterable[tuple[int, Sequence[int], int]], small: bool = False
    ) -> None:
        """``commands``: (kernel address, consts, number of tasks) each."""
        self.small = small
        self._consts = [(address, array("q", consts), tasks) for address, consts, tasks in commands]
        self._table = array("q")
        for address, consts, tasks in self._consts:
            self._table.extend((address, consts.buffer_info()[0], tasks, 0))
        self._address = self._table.buffer_info()[0]
        self._count = len(self._consts)


class Ticket:
    """A submitted program: ``wait`` for it."""

    __slots__ = ("status",)

    def __init__(self, status: int) -> None:
        self.status = status


def run(program: Program, bases: array[int] | list[int]) -> int:
    """Run to the end; returns status[0], 0 if all went well.

    ``bases[0]`` is the address of a status block of four int64, or 0 for one of ours.
    """
    if type(bases) is list:
        bases = array("q", bases)
    return _run_inline()(program._address, program._count, bases.buffer_info()[0])


def submit(program: Program, bases: array[int] | list[int], keep: Any) -> Ticket:
    """Queue a program; ``keep`` stays alive until it has run."""
    return Ticket(run(program, bases))


def wait(ticket: Ticket) -> int:
    """Block until the program has run; returns its status[0]."""
    return ticket.status


def num_threads() -> int:
    """How many threads run a program."""
    return 1


def set_num_threads(n: int) -> int:
    """Set how many threads run a program; returns the previous number."""
    return 1
