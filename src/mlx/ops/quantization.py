"""Quantization: groups of the last axis share a scale, elements are packed into uint32.

Modes: ``affine`` (1 to 8 bits, a float scale and bias a group of 32, 64 or 128), ``mxfp4``
and ``mxfp8`` (groups of 32, the scale a power of two in uint8), ``nvfp4`` (groups of 16, the
scale an 8-bit float).

>>> import mlx.core as mx
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype, promote
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.ops.fp8 import LARGEST, decode, encode, masked
from mlx.ops.operands import array_node, dtype_of, fitted, integer
from mlx.primitives.arithmetic import Absolute, Ceil, Maximum, Minimum, Power, Round
from mlx.primitives.base import full_like, iota
from mlx.primitives.bitwise import BitwiseAnd, LeftShift, RightShift
from mlx.primitives.elementwise import Equal, Greater, GreaterEqual, cast, where
from mlx.primitives.quantized import affine_values, spread, unpack
from mlx.primitives.reductions import Max, Min, Sum, broadcast_axes
from mlx.primitives.transcendental import Log2
from mlx.primitives.views import reshape

_FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


@dataclass(frozen=True)
class Format:
    """How a matrix is quantized."""

    mode: str
    group: int
    bits: int


_FIXED = {"mxfp4": (32, 4), "nvfp4": (16, 4), "mxfp8": (32, 8)}


def format_of(name: str, group_size: int | None, bits: int | None, mode: str) -> Format:
    if not isinstance(mode, str):
        raise TypeError(f"[{name}] mode must be a string, got {type(mode).__name__}.")
    if group_size is not None:
        group_size = integer(name, "group_size", group_size)
    if bits is not None:
        bits = integer(name, "bits", bits)
    if mode == "affine":
        found = Format(mode, 64 if group_size is None else group_size, 4 if bits is None else bits)
        if found.group not in (32, 64, 128):
            raise ValueError(f"[{name}] group_size must be 32, 64 or 128, got {found.group}.")
        if found.bits not in (1, 2, 3, 4, 5, 6, 8):
            raise ValueError(f"[{name}] bits must be 1, 2, 3, 4, 5, 6 or 8, got {found.bits}.")
        return found
    if mode not in _FIXED:
        raise ValueError(
            f"[{name}] Invalid quantization mode {mode!r}: use affine or one of {list(_FIXED)}."
        )
    group, width = _FIXED[mode]
    if (group_size or group, bits or width) != (group, width):
        raise ValueError(f"[{name}] Mode {mode} has groups of {group} and {width} bits.")
    return Format(mode, group, width)


def quantize(
    w: array,
    /,
    group_size: int | None = None,
    bits: int | None = None,
    mode: str = "affine",
    *,
    global_scale: array | None = None,
    stream: Any = None,
) -> list[array]:
    """Packed elements, scales and, for ``affine``, biases of a matrix.

    Raises ValueError where the last axis is not a multiple of the group size, and for
    unsupported sizes, bits and modes.

    >>> q, scales, biases = mx.quantize(mx.ones((2, 64)), group_size=32, bits=4)
    >>> q.shape, scales.shape
    ((2, 8), (2, 2))
    """
    x, form = array_node("quantize", w), format_of("quantize", group_size, bits, mode)
    if not x.dtype.is_float:
        raise ValueError(f"[quantize] Needs a floating-point matrix, got {x.dtype.name}.")
    if x.ndim < 2 or x.shape[-1] % form.group:
        raise ValueError(
            f"[quantize] Needs 2 dimensions and a last axis divisible by {form.group}, got "
            f"{x.shape}."
        )
    grouped = reshape(x, (*x.shape[:-1], x.shape[-1] // form.group, form.group))
    parts: tuple[Node, ...]
    if form.mode == "affine":
        parts = _affine(grouped, form.bits)
    else:
        parts = _floating(cast(grouped, dt.float32), form, global_scale)
    codes = reshape(parts[0], x.shape)
    return [wrap(pack(codes, form.bits)), *(wrap(p) for p in parts[1:])]


def _affine(x: Node, bits: int) -> tuple[Node, Node, Node]:
    """The end of larger modulus is represented exactly."""
    top, wide, last = 2**bits - 1, cast(x, dt.float32), x.ndim - 1
    low, high = Min(last)(wide), Max(last)(wide)
    scale = Maximum()((high - low) / float(top), full_like(low, 1e-7))
    scale, bias = (scale, low) if bits == 1 else _through_zero(low, high, scale)
    code = Round()((wide - spread(bias, x)) / spread(scale, x))
    code = Minimum()(Maximum()(code, full_like(code, 0)), full_like(code, top))
    return cast(code, dt.uint32), cast(scale, x.dtype), cast(bias, x.dtype)


def _through_zero(low: Node, high: Node, scale: Node) -> tuple[Node, Node]:
    """Scale and bias for which zero is a whole number of steps from the larger end."""
    from_low = Greater()(Absolute()(low), Absolute()(high))
    scale = where(from_low, scale, -scale)
    edge = where(from_low, low, high)
    steps = Round()(edge / scale)
    zero = Equal()(steps, full_like(steps, 0))
    scale = where(zero, scale, edge / where(zero, 1, steps))
    return scale, where(zero, 0, edge)


def _floating(x: Node, form: Format, global_scale: array | None) -> tuple[Node, Node]:
    """Codes and one scale a group that brings its largest element into range."""
    largest = Max(x.ndim - 1)(Absolute()(x))
    top = 448.0 if form.bits == 8 else 6.0
    if form.mode == "nvfp4":
        unit = None if global_scale is None else _unit("quantize", global_scale, largest.shape)
        code = encode(largest / top if unit is None else largest / top / unit)
        scale = decode(code) if unit is None else decode(code) * unit
        stored = cast(code, dt.uint8)
    else:
        exponent = _exponent(largest, top)
        stored = cast(exponent + 127.0, dt.uint8)
        scale = Power()(full_like(exponent, 2.0), exponent)
    scale = spread(where(Equal()(scale, full_like(scale, 0)), 1, scale), x)
    scaled = x / scale
    return (encode(scaled) if form.bits == 8 else _encode4(scaled)), stored


def _exponent(largest: Node, top: float) -> Node:
    exponent = Ceil()(Log2()(largest / top))
    exponent = Minimum()(Maximum()(exponent, full_like(exponent, -127)), full_like(exponent, 127))
    return where(Equal()(largest, full_like(largest, 0)), 0, exponent)


def _encode4(x: Node) -> Node:
    """float32 to E2M1: the nearest of 0, 0.5, 1, 1.5, 2, 3, 4, 6, of two the smaller; the sign."""
    size = Absolute()(x)
    code = full_like(cast(size, dt.uint32), 0)
    for a, b in pairwise(_FP4):
        above = Greater()(size, full_like(size, (a + b) / 2))
        code = code + cast(above, dt.uint32)
    negative = BitwiseAnd()(x < full_like(x, 0), Greater()(code, full_like(code, 0)))
    return where(negative, code + 8, code)


def _decode4(code: Node) -> Node:
    out = full_like(cast(code, dt.float32), 0)
    index = masked(code, 7)
    for i, value in enumerate(_FP4):
        out = where(Equal()(index, full_like(index, i)), value, out)
    return where(GreaterEqual()(code, full_like(code, 8)), -out, out)


def pack(codes: Node, bits: int) -> Node:
    """Codes of the last axis as one stream of bits, lowest first, in uint32."""
    *lead, n = codes.shape
    if 32 % bits == 0:
        per = 32 // bits
        parts = reshape(codes, (*lead, n // per, per))
        at = iota(parts.shape, len(lead) + 1, dt.uint32) * bits
        return Sum(len(lead) + 1)(LeftShift()(parts, at))
    single = broadcast_axes(codes, (*lead, n, bits), range(len(lead) + 1))
    at = iota(single.shape, len(lead) + 1, dt.uint32)
    stream = reshape(masked(RightShift()(single, at), 1), (*lead, n * bits // 32, 32))
    return pack(reshape(stream, (*lead, n * bits)), 1)


def dequantize(
    w: array,
    /,
    scales: array,
    biases: array | None = None,
    group_size: int | None = None,
    bits: int | None = None,
    mode: str = "affine",
    global_scale: array | None = None,
    dtype: Dtype | None = None,
    *,
    stream: Any = None,
) -> array:
    """The matrix that packed elements, scales and biases stand for.

    >>> mx.dequantize(*mx.quantize(mx.ones((2, 64)))).sum()
    array(128, dtype=float32)
    """
    form = format_of("dequantize", group_size, bits, mode)
    parts = parts_of("dequantize", array_nodes("dequantize", w, scales, biases), form)
    out = values_of(parts, form, global_scale)
    return wrap(out if dtype is None else cast(out, dtype_of("dequantize", dtype)))


def array_nodes(name: str, *given: array | None) -> list[Node | None]:
    """The nodes of arrays, None where there is none."""
    return [None if one is None else array_node(name, one) for one in given]


def parts_of(name: str, given: Sequence[Node | None], form: Format) -> list[Node]:
    """Packed words, scales and, for ``affine``, biases, both of one dtype."""
    if (given[2] is None) == (form.mode == "affine"):
        needed = "are needed" if form.mode == "affine" else "must be None"
        raise ValueError(f"[{name}] Biases {needed} for quantization mode {form.mode!r}.")
    packed, scales, *biases = [node for node in given if node is not None]
    if packed.dtype is not dt.uint32:
        raise ValueError(f"[{name}] The matrix must be uint32, got {packed.dtype.name}.")
    if packed.ndim < 2:
        raise ValueError(f"[{name}] The matrix must have 2 dimensions, got {packed.shape}.")
    if biases and scales.shape != biases[0].shape:
        raise ValueError(
            f"[{name}] Scales and biases should have the same shape, got {scales.shape} and "
            f"{biases[0].shape}."
        )
    groups = packed.shape[-1] * 32 // form.bits // form.group
    if any(p.shape != (*packed.shape[:-1], groups) for p in (scales, *biases)):
        shapes = [p.shape for p in (scales, *biases)]
        raise ValueError(
            f"[{name}] Scales and biases of shapes {shapes} do not fit {packed.shape} in groups "
            f"of {form.group} with {form.bits} bits."
        )
    if not biases:
        return [packed, scales]
    dtype = promote(scales.dtype, biases[0].dtype)
    dtype = dtype if dtype.is_float else dt.float32
    return [packed, cast(scales, dtype), cast(biases[0], dtype)]


def values_of(parts: list[Node], form: Format, global_scale: array | None = None) -> Node:
    packed, scales, *biases = parts
    if biases:
        return affine_values(packed, scales, biases[0], form.group, form.bits)
    codes = unpack(packed, form.bits)
    grouped = reshape(codes, (*scales.shape, form.group))
    value = decode(grouped) if form.bits == 8 else _decode4(grouped)
    scale = _scale_values(scales, form, global_scale)
    out = reshape(value * spread(scale, grouped), codes.shape)
    return out if global_scale is not None else cast(out, dt.bfloat16)


def _scale_values(scales: Node, form: Format, global_scale: array | None) -> Node:
    if form.mode != "nvfp4":
        exponent = cast(scales, dt.float32) - 127.0
        return Power()(full_like(exponent, 2.0), exponent)
    scale = decode(cast(scales, dt.uint32))
    return scale if global_scale is None else scale * _unit("dequantize", global_scale, scale.shape)


def _unit(name: str, global_scale: array, shape: Shape) -> Node:
    """What a scale of 1 stands for where the matrix reaches up to ``global_scale``."""
    node = cast(array_node(name, global_scale), dt.float32)
    return fitted(node / (LARGEST * _FP4[-1]), shape, dt.float32)
