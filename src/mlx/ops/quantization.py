"""Quantized matrices: groups of the last axis share a scale, elements are packed into uint32.

Modes: ``affine`` (2 to 8 bits, a float scale and bias a group of 32, 64 or 128), ``mxfp4``
and ``mxfp8`` (groups of 32, the scale a power of two in uint8), ``nvfp4`` (groups of 16, the
scale an 8-bit float).

>>> import mlx.core as mx
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype, promote
from mlx.graph.node import Node
from mlx.ops.chosen import batch_index, chosen
from mlx.ops.fp8 import decode, encode, masked
from mlx.ops.operands import array_node, broadcast_shape, dtype_of, fitted
from mlx.ops.products import product
from mlx.primitives.arithmetic import Absolute, Ceil, Maximum, Minimum, Power, Round
from mlx.primitives.base import full_like, iota
from mlx.primitives.bitwise import BitwiseAnd, LeftShift, RightShift
from mlx.primitives.elementwise import Equal, Greater, GreaterEqual, cast, where
from mlx.primitives.reductions import Max, Min, Sum, broadcast, broadcast_axes
from mlx.primitives.transcendental import Log2
from mlx.primitives.views import reshape, transpose

_FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


@dataclass(frozen=True)
class Format:
    """How a matrix is quantized."""

    mode: str
    group: int
    bits: int


_FIXED = {"mxfp4": (32, 4), "nvfp4": (16, 4), "mxfp8": (32, 8)}


def _format(name: str, group_size: int | None, bits: int | None, mode: str) -> Format:
    if mode == "affine":
        found = Format(mode, group_size or 64, bits or 4)
        if found.group not in (32, 64, 128):
            raise ValueError(f"[{name}] group_size must be 32, 64 or 128, got {found.group}.")
        if found.bits not in (2, 3, 4, 5, 6, 8):
            raise ValueError(f"[{name}] bits must be 2, 3, 4, 5, 6 or 8, got {found.bits}.")
        return found
    if mode not in _FIXED:
        raise ValueError(f"[{name}] Invalid mode {mode!r}: use affine or one of {list(_FIXED)}.")
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
) -> tuple[array, ...]:
    """Packed elements, scales and, for ``affine``, biases of a matrix.

    Raises ValueError where the last axis is not a multiple of the group size, and for
    unsupported sizes, bits and modes.

    >>> q, scales, biases = mx.quantize(mx.ones((2, 64)), group_size=32, bits=4)
    >>> q.shape, scales.shape
    ((2, 8), (2, 2))
    """
    x, form = array_node("quantize", w), _format("quantize", group_size, bits, mode)
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
    return (wrap(pack(codes, form.bits)), *(wrap(p) for p in parts[1:]))


def _spread(per_group: Node, like: Node) -> Node:
    return broadcast(reshape(per_group, (*per_group.shape, 1)), like.shape)


def _affine(x: Node, bits: int) -> tuple[Node, Node, Node]:
    """The end of larger modulus is represented exactly."""
    top, wide, last = 2**bits - 1, cast(x, dt.float32), x.ndim - 1
    low, high = Min(last)(wide), Max(last)(wide)
    scale = Maximum()((high - low) / float(top), full_like(low, 1e-7))
    from_low = Greater()(Absolute()(low), Absolute()(high))
    scale = where(from_low, scale, -scale)
    edge = where(from_low, low, high)
    steps = Round()(edge / scale)
    zero = Equal()(steps, full_like(steps, 0))
    scale = where(zero, scale, edge / where(zero, 1, steps))
    bias = where(zero, 0, edge)
    code = Round()((wide - _spread(bias, x)) / _spread(scale, x))
    code = Minimum()(Maximum()(code, full_like(code, 0)), full_like(code, top))
    return cast(code, dt.uint32), cast(scale, x.dtype), cast(bias, x.dtype)


def _floating(x: Node, form: Format, global_scale: array | None) -> tuple[Node, Node]:
    """Codes and one scale a group that brings its largest element into range."""
    largest = Max(x.ndim - 1)(Absolute()(x))
    top = 448.0 if form.bits == 8 else 6.0
    if form.mode == "nvfp4":
        whole = (
            None if global_scale is None else cast(array_node("quantize", global_scale), x.dtype)
        )
        if whole is not None:
            largest = largest * fitted(whole, largest.shape, x.dtype)
        code = encode(largest / top)
        scale = decode(code)
        if whole is not None:
            scale = scale / fitted(whole, largest.shape, x.dtype)
        stored = cast(code, dt.uint8)
    else:
        exponent = _exponent(largest, top)
        stored = cast(exponent + 127.0, dt.uint8)
        scale = Power()(full_like(exponent, 2.0), exponent)
    scale = _spread(where(Equal()(scale, full_like(scale, 0)), 1, scale), x)
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


def unpack(words: Node, bits: int) -> Node:
    """The codes of packed words."""
    *lead, n = words.shape
    if 32 % bits == 0:
        wide = broadcast_axes(words, (*lead, n, 32 // bits), range(len(lead) + 1))
        at = iota(wide.shape, len(lead) + 1, dt.uint32) * bits
        codes = masked(RightShift()(wide, at), 2**bits - 1)
        return reshape(codes, (*lead, n * 32 // bits))
    stream = reshape(unpack(words, 1), (*lead, n * 32 // bits, bits))
    at = iota(stream.shape, len(lead) + 1, dt.uint32)
    return Sum(len(lead) + 1)(LeftShift()(stream, at))


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
    form = _format("dequantize", group_size, bits, mode)
    nodes = [None if x is None else array_node("dequantize", x) for x in (w, scales, biases)]
    out = _values("dequantize", nodes, form, global_scale)
    return wrap(out if dtype is None else cast(out, dtype_of("dequantize", dtype)))


def _values(
    name: str, nodes: list[Node | None], form: Format, global_scale: array | None = None
) -> Node:
    packed, scales, biases = nodes
    assert packed is not None and scales is not None
    if packed.dtype is not dt.uint32 or (biases is None) != (form.mode != "affine"):
        raise ValueError(
            f"[{name}] Needs packed uint32, scales and, for affine only, biases; got "
            f"{packed.dtype.name} and mode {form.mode}."
        )
    groups = packed.shape[-1] * 32 // form.bits // form.group
    if scales.shape != (*packed.shape[:-1], groups):
        raise ValueError(
            f"[{name}] Scales of shape {scales.shape} do not fit {packed.shape} in groups of "
            f"{form.group} with {form.bits} bits."
        )
    codes = unpack(packed, form.bits)
    grouped = reshape(codes, (*scales.shape, form.group))
    if biases is not None:
        out = cast(grouped, scales.dtype) * _spread(scales, grouped)
        out = out + _spread(cast(biases, scales.dtype), grouped)
        return reshape(out, codes.shape)
    value = decode(grouped) if form.bits == 8 else _decode4(grouped)
    scale = _scale_values(scales, form, global_scale)
    return reshape(cast(value * _spread(scale, grouped), dt.bfloat16), codes.shape)


def _scale_values(scales: Node, form: Format, global_scale: array | None) -> Node:
    if form.mode != "nvfp4":
        exponent = cast(scales, dt.float32) - 127.0
        return Power()(full_like(exponent, 2.0), exponent)
    scale = decode(cast(scales, dt.uint32))
    if global_scale is None:
        return scale
    whole = cast(array_node("dequantize", global_scale), dt.float32)
    return scale / fitted(whole, scale.shape, dt.float32)


def quantized_matmul(
    x: array,
    w: array,
    /,
    scales: array,
    biases: array | None = None,
    transpose: bool = True,
    group_size: int | None = None,
    bits: int | None = None,
    mode: str = "affine",
    *,
    stream: Any = None,
) -> array:
    """``x @ w.T``, or ``x @ w`` without ``transpose``, for a quantized matrix w.

    >>> mx.quantized_matmul(mx.ones((1, 64)), *mx.quantize(mx.ones((2, 64))))
    array([[64, 64]], dtype=float32)
    """
    left = array_node("quantized_matmul", x)
    right = _dense("quantized_matmul", (w, scales, biases), transpose, group_size, bits, mode)
    dtype = promote(left.dtype, right.dtype) if mode == "affine" else left.dtype
    return wrap(product(cast(left, dtype), cast(right, dtype)))


def _dense(
    name: str, parts: Any, flip: bool, group_size: int | None, bits: int | None, mode: str
) -> Node:
    nodes = [None if p is None else array_node(name, p) for p in parts]
    out = _values(name, nodes, _format(name, group_size, bits, mode))
    return _flipped(out) if flip else out


def gather_qmm(
    x: array,
    w: array,
    /,
    scales: array,
    biases: array | None = None,
    lhs_indices: array | None = None,
    rhs_indices: array | None = None,
    transpose: bool = True,
    group_size: int | None = None,
    bits: int | None = None,
    mode: str = "affine",
    global_scale: array | None = None,
    *,
    sorted_indices: bool = False,
    stream: Any = None,
) -> array:
    """quantized_matmul of chosen matrices, see :func:`gather_mm`.

    >>> w = mx.quantize(mx.ones((3, 2, 64)))
    >>> mx.gather_qmm(mx.ones((1, 1, 64)), *w, rhs_indices=mx.array([0, 2])).shape
    (2, 1, 2)
    """
    name = "gather_qmm"
    left = array_node(name, x)
    right = _dense(name, (w, scales, biases), transpose, group_size, bits, mode)
    dtype = promote(left.dtype, right.dtype) if mode == "affine" else left.dtype
    rows, columns = batch_index(name, left, lhs_indices), batch_index(name, right, rhs_indices)
    shape = broadcast_shape(rows.shape, columns.shape)
    a = chosen(cast(left, dtype), fitted(rows, shape, rows.dtype))
    return wrap(product(a, chosen(cast(right, dtype), fitted(columns, shape, columns.dtype))))


def qqmm(
    x: array,
    w: array,
    scales: array | None = None,
    group_size: int | None = None,
    bits: int | None = None,
    mode: str = "nvfp4",
    global_scale_x: array | None = None,
    global_scale_w: array | None = None,
    *,
    stream: Any = None,
) -> array:
    """``x @ w.T`` with both quantized: x always, w unless it is (then ``scales`` are given).

    >>> mx.qqmm(mx.ones((1, 32)), mx.ones((2, 32)), mode="mxfp8")
    array([[32, 32]], dtype=float32)
    """
    form = _format("qqmm", group_size, bits, mode)
    dtype = array_node("qqmm", x).dtype
    left = _requantized(x, form, global_scale_x)
    right = _second("qqmm", w, scales, form, global_scale_w)
    return wrap(product(cast(left, dtype), _flipped(cast(right, dtype))))


def _second(
    name: str, w: array, scales: array | None, form: Format, global_scale: array | None
) -> Node:
    """The values of w, quantized here where it is not yet."""
    if scales is None:
        return _requantized(w, form, global_scale)
    nodes = [array_node(name, w), array_node(name, scales), None]
    return _values(name, nodes, form, global_scale)


def _flipped(x: Node) -> Node:
    n = x.ndim
    return transpose(x, (*range(n - 2), n - 1, n - 2))


def _requantized(x: array, form: Format, global_scale: array | None) -> Node:
    parts = quantize(x, form.group, form.bits, form.mode, global_scale=global_scale)
    nodes = [p._node for p in parts]
    return _values("qqmm", [*nodes, None][:3], form, global_scale)


def gather_qqmm(
    x: array,
    w: array,
    /,
    scales: array | None = None,
    lhs_indices: array | None = None,
    rhs_indices: array | None = None,
    group_size: int | None = None,
    bits: int | None = None,
    mode: str = "nvfp4",
    global_scale_x: array | None = None,
    global_scale_w: array | None = None,
    *,
    sorted_indices: bool = False,
    stream: Any = None,
) -> array:
    """qqmm of chosen matrices, see :func:`gather_mm`.

    >>> w = mx.ones((3, 2, 32))
    >>> mx.gather_qqmm(mx.ones((1, 1, 32)), w, rhs_indices=mx.array([0, 2])).shape
    (2, 1, 2)
    """
    name = "gather_qqmm"
    form = _format(name, group_size, bits, mode)
    left = array_node(name, x)
    right = _second(name, w, scales, form, global_scale_w)
    rows, columns = batch_index(name, left, lhs_indices), batch_index(name, right, rhs_indices)
    shape = broadcast_shape(rows.shape, columns.shape)
    a = chosen(_requantized(x, form, global_scale_x), fitted(rows, shape, rows.dtype))
    b = chosen(right, fitted(columns, shape, columns.dtype))
    return wrap(product(cast(a, left.dtype), _flipped(cast(b, left.dtype))))
