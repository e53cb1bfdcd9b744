"""What is written around the caches: results of kernels whose operands and results don't fit in
this machine's last one, unless they took the memory of an operand, whose lines are there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce

from mlx.backend.llvm.cache_sizes import last_level
from mlx.backend.llvm.expressions import Structure
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import Value
from mlx.compiler.nest import Load
from mlx.compiler.sizes import Number


def overflows(traffic: Number) -> bool:
    """Whether a kernel that reads and writes so many bytes leaves little of its result in cache.

    Then a line to be written need not be read first, and what the next kernel reads of it comes
    from memory either way.
    """
    return traffic > last_level()


def taken_over(f: Function, s: Structure, bases: Sequence[Value]) -> dict[int, Value]:
    """Of each result to be written around the caches: whether an operand lies there (i1)."""
    read = sorted({x.access for x in s.values if isinstance(x, Load)})
    units = [a for a in read if s.accesses[a].kind == "unit"]
    streams = [a for a, c in enumerate(s.accesses) if c.kind == "stream" and units]
    return {
        a: reduce(partial(f.op, "or"), [f.icmp("eq", bases[a], bases[u]) for u in units])
        for a in streams
    }
