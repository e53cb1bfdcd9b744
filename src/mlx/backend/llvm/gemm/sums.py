"""What products are summed in, and integers that may stand for others there."""

from __future__ import annotations

from dataclasses import replace

from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Matrix

_SIGNED = {"uint8": "int8", "uint16": "int16", "uint32": "int32", "uint64": "int64"}
_DEEPEST = (1 << 31) // 255**2
"""Products of 8-bit numbers whose sum is below 2^31."""


def accumulate_in(result: str, a: str, b: str, depth: int) -> str:
    """The dtype in which a product of operands of these dtypes is summed.

    Integers wrap around, so that 32 bits do for all results of no more.
    """
    if result in ("float16", "bfloat16"):
        return "float32"
    if result.startswith(("float", "complex")):
        return result
    if SIZES[result] < 8 or (SIZES[a] == SIZES[b] == 1 and depth <= _DEEPEST):
        return "int32"
    return "int64"


def as_alike(a: Matrix, b: Matrix, result: str) -> tuple[Matrix, Matrix]:
    """Operands read with other signs, where the result's bits are the same.

    They are if an operand is as wide as the result.  Of bytes, a signed one on the left and
    an unsigned one on the right are what instructions multiply.
    """
    if result.startswith(("float", "bfloat", "complex")):
        return a, b
    left = _signed(a) if SIZES[a.dtype] == SIZES[result] else a
    if SIZES[b.dtype] != SIZES[result]:
        return left, b
    return left, replace(b, dtype="uint8") if SIZES[b.dtype] == 1 else _signed(b)


def _signed(x: Matrix) -> Matrix:
    return replace(x, dtype=_SIGNED.get(x.dtype, x.dtype))
