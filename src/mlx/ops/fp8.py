"""8-bit floating point, E4M3: 4 bits of exponent, 3 of fraction, no infinity, largest 448.

>>> import mlx.core as mx
"""

from __future__ import annotations

from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.graph.node import Node
from mlx.ops.operands import dtype_of, node_of
from mlx.primitives.arithmetic import Absolute, Minimum, Round
from mlx.primitives.base import full_like
from mlx.primitives.bitwise import Bitcast, BitwiseAnd, BitwiseOr, LeftShift, RightShift
from mlx.primitives.elementwise import Equal, Less, Multiply, cast, where

LARGEST = 448.0
_NORMAL = 2.0**-6  # the smallest with a leading one
_STEP = 2.0**-9  # of the numbers below


def to_fp8(x: array, *, stream: Any = None) -> array:
    """Floating-point numbers as E4M3 in uint8, rounded to nearest even; beyond 448 as 448.

    >>> mx.to_fp8(mx.array([1.0, -2.5, 1000.0]))
    array([56, 194, 126], dtype=uint8)
    """
    node = node_of("to_fp8", x)
    if not node.dtype.is_inexact or node.dtype.is_complex:
        raise ValueError(f"[to_fp8] Needs a floating-point array, got {node.dtype.name}.")
    return wrap(cast(encode(cast(node, dt.float32)), dt.uint8))


def from_fp8(x: array, dtype: Dtype = dt.bfloat16, *, stream: Any = None) -> array:
    """The numbers of E4M3 in uint8.

    >>> mx.from_fp8(mx.array([56, 194], mx.uint8), mx.float32)
    array([1, -2.5], dtype=float32)
    """
    node = node_of("from_fp8", x)
    if node.dtype is not dt.uint8:
        raise ValueError(f"[from_fp8] Needs uint8, got {node.dtype.name}.")
    return wrap(cast(decode(cast(node, dt.uint32)), dtype_of("from_fp8", dtype)))


def shifted(x: Node, by: int) -> Node:
    """Bits to the left, or for a negative number to the right."""
    return (LeftShift if by > 0 else RightShift)()(x, full_like(x, abs(by))) if by else x


def masked(x: Node, mask: int) -> Node:
    return BitwiseAnd()(x, full_like(x, mask))


def encode(x: Node) -> Node:
    """float32 to E4M3 in uint32."""
    size = Minimum()(Absolute()(x), full_like(x, LARGEST))
    bits = Bitcast(dt.uint32)(where(Equal()(x, x), size, LARGEST))
    # round to 3 bits of fraction, half to even; a carry moves into the exponent
    rounded = shifted(bits + (masked(shifted(bits, -20), 1) + 0x7FFFF), -20)
    normal = rounded - (120 << 3)
    below = cast(Round()(Multiply()(size, full_like(size, 1 / _STEP))), dt.uint32)
    code = where(Less()(size, full_like(size, _NORMAL)), below, normal)
    sign = masked(shifted(Bitcast(dt.uint32)(x), -24), 0x80)
    return BitwiseOr()(code, sign)


def decode(code: Node) -> Node:
    """E4M3 in uint32 to float32; 127 and 255 are NaN."""
    exponent, fraction = masked(shifted(code, -3), 15), masked(code, 7)
    bits = BitwiseOr()(shifted(exponent + 120, 23), shifted(fraction, 20))
    normal = Bitcast(dt.float32)(bits)
    below = cast(fraction, dt.float32) * _STEP
    size = where(Equal()(exponent, full_like(exponent, 0)), below, normal)
    lowest = masked(code, 127)
    size = where(Equal()(lowest, full_like(lowest, 127)), float("nan"), size)
    sign = shifted(masked(code, 128), 24)
    return Bitcast(dt.float32)(BitwiseOr()(Bitcast(dt.uint32)(size), sign))
