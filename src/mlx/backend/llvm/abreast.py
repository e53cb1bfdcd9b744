"""How many steps of a map go side by side.

Rounding to float16 or bfloat16 after each operation makes chains of it long, and a processor
looks only so many instructions ahead: fewer than a chain has, so that steps one after the other
wait for themselves.  Side by side, value by value, they do not.
"""

from __future__ import annotations

from mlx.backend.llvm.expressions import FULL, Structure
from mlx.backend.llvm.target import host
from mlx.compiler.nest import Apply, Argument, Index, Literal, Load

FEW = 3
"""Roundings below which memory decides, not arithmetic."""
SHORT, LONG = 16, 64
"""Operations up to which four, or two, steps are worth the time that their code takes to compile
(128 elements at once: 0.65 to 0.8 of the time of 32; 64: 0.75 to 0.9)."""
_PLAIN = {"unit", "stream"}


def steps_abreast(s: Structure) -> int:
    """1, 2 or 4 steps: what is left of a row goes masked, which needs AVX-512, as do registers."""
    chain = [e for v, e in enumerate(s.values) if s.spaces[v] == FULL and isinstance(e, Apply)]
    rounded = [e for e in chain if e.dtype.is_float and e.dtype.size == 2]
    if len(rounded) < FEW or not host().avx512 or not _is_plain_map(s):
        return 1
    return 4 if len(chain) <= SHORT else 2 if len(chain) <= LONG else 1


def _is_plain_map(s: Structure) -> bool:
    """Whether all that moves in the inner loop are consecutive elements, and nothing folds."""
    if s.split or not s.stores:
        return False
    if not all(isinstance(e, Apply | Load | Literal | Argument | Index) for e in s.values):
        return False
    moved = [s.accesses[access].kind for _, access in s.stores]
    moved += [
        s.accesses[e.access].kind
        for v, e in enumerate(s.values)
        if isinstance(e, Load | Index) and s.spaces[v] == FULL
    ]
    return set(moved) <= _PLAIN
