"""What is written around the caches: results of kernels whose operands and results don't fit in
this machine's last one, unless they took the memory of an operand, whose lines are there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial, reduce
from pathlib import Path

from mlx.backend.llvm.expressions import Structure
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import Value
from mlx.compiler.nest import Load
from mlx.compiler.sizes import Number

FALLBACK_BYTES, MOST_BYTES = 32 << 20, 48 << 20
"""Where the machine doesn't say, and of a cache that many cores share."""


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


@cache
def last_level() -> int:
    """Bytes of the largest cache of a core, at most ``MOST_BYTES``."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        try:
            sizes.append(_bytes(path.read_text()))
        except (OSError, ValueError):
            continue
    return min(max(sizes, default=FALLBACK_BYTES), MOST_BYTES)


def _bytes(text: str) -> int:
    """A size as Linux writes it, such as 32768K."""
    text = text.strip()
    unit = {"K": 10, "M": 20, "G": 30}.get(text[-1:], 0)
    return int(text[:-1] if unit else text) << unit
