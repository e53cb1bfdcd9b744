"""Products with quantized matrices.

>>> import mlx.core as mx
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import promote
from mlx.graph.chains import by_types_of_all
from mlx.graph.node import Node
from mlx.ops.chosen import batch_index, checked, chosen, index_shape, product_with_chosen
from mlx.ops.operands import array_node, broadcast_shape, fitted
from mlx.ops.products import product
from mlx.ops.quantization import Format, array_nodes, format_of, parts_of, quantize, values_of
from mlx.primitives.chosen import ChosenQuantizedMatMul
from mlx.primitives.elementwise import cast
from mlx.primitives.quantized import QuantizedMatMul
from mlx.primitives.views import reshape, transpose

_KERNEL_DTYPES = (dt.float32, dt.float16, dt.bfloat16)


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
    name = "quantized_matmul"
    given = (x, w, scales) if biases is None else (x, w, scales, biases)
    nodes = [array_node(name, each) for each in given]
    return wrap(_plain_product(nodes, group_size, bits, mode, bool(transpose)))


@by_types_of_all
def _plain_product(
    nodes: Sequence[Node], group_size: int | None, bits: int | None, mode: str, flip: bool
) -> Node:
    name = "quantized_matmul"
    form = format_of(name, group_size, bits, mode)
    x, packed, scales, *biases = nodes
    parts = parts_of(name, (packed, scales, *(biases or (None,))), form)
    return _product(name, x, parts, form, flip)


def _product(
    name: str,
    x: Node,
    parts: list[Node],
    form: Format,
    flip: bool,
    global_scale: array | None = None,
) -> Node:
    """x times a quantized matrix, which is not written out where there is a kernel."""
    _inner(name, x, parts[0], form, flip)
    has_kernel = _has_kernel(x, parts)
    dtype = promote(x.dtype, parts[1].dtype) if len(parts) == 3 else x.dtype
    x = cast(x, dtype)
    if has_kernel and global_scale is None:
        return _by_kernel(x, parts, form, flip)
    right = cast(values_of(parts, form, global_scale), dtype)
    return product(x, _flipped(right) if flip else right)


def _by_kernel(x: Node, parts: list[Node], form: Format, flip: bool) -> Node:
    primitive = QuantizedMatMul(form.group, form.bits, flip, form.mode)
    *_, rows, words = parts[0].shape
    outputs = rows if flip else words * 32 // form.bits
    if parts[0].ndim == 2:
        k = x.shape[-1]
        flat = reshape(x, (x.size // k if k else math.prod(x.shape[:-1]), k))
        return reshape(primitive(flat, *parts), (*x.shape[:-1], outputs))
    left = reshape(x, (1, x.shape[0])) if x.ndim == 1 else x
    lead = broadcast_shape(left.shape[:-2], parts[0].shape[:-2])
    operands = [fitted(p, (*lead, *p.shape[-2:]), p.dtype) for p in (left, *parts)]
    out = primitive(*operands)
    return reshape(out, (*lead, outputs)) if x.ndim == 1 else out


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
    form = format_of(name, group_size, bits, mode)
    left, parts = array_node(name, x), parts_of(name, array_nodes(name, w, scales, biases), form)
    if left.ndim < 2:
        raise ValueError(f"[{name}] x must have 2 dimensions, got {left.shape}.")
    rows, columns = batch_index(name, lhs_indices), batch_index(name, rhs_indices)
    shape = index_shape((left, rows), (parts[0], columns))
    a = chosen(left, rows, shape)
    if columns is not None and a.size and global_scale is None and _has_kernel(a, parts):
        index = fitted(columns, shape, columns.dtype)
        return wrap(_product_with_chosen(a, parts, index, form, bool(transpose)))
    picked = [chosen(p, columns, shape) for p in parts]
    return wrap(_product(name, a, picked, form, transpose, global_scale))


def _product_with_chosen(x: Node, parts: list[Node], index: Node, form: Format, flip: bool) -> Node:
    """x[..., m, k] times the matrices at index[...]."""
    inner = _inner("gather_qmm", x, parts[0], form, flip)
    primitive = QuantizedMatMul(form.group, form.bits, flip, form.mode)
    dtype = promote(x.dtype, parts[1].dtype) if len(parts) == 3 else x.dtype
    rows = reshape(cast(x, dtype), (x.size // inner, inner))
    matrices = [reshape(p, (math.prod(p.shape[:-2]), *p.shape[-2:])) for p in parts]
    at = checked(index, matrices[0].shape[0])
    out = ChosenQuantizedMatMul(primitive)(rows, *matrices, at)
    return reshape(out, (*index.shape, x.shape[-2], out.shape[-1]))


def _inner(name: str, x: Node, packed: Node, form: Format, flip: bool) -> int:
    """The elements that products of x with a quantized matrix sum."""
    inner = packed.shape[-1] * 32 // form.bits if flip else packed.shape[-2]
    if x.ndim == 0 or x.shape[-1] != inner:
        raise ValueError(
            f"[{name}] The last axis of x must have {inner} elements for a quantized matrix of "
            f"shape {packed.shape} with transpose={flip}, got {x.shape}."
        )
    return inner


def _has_kernel(x: Node, parts: list[Node]) -> bool:
    dtype = promote(x.dtype, parts[1].dtype) if len(parts) == 3 else x.dtype
    fitting = parts[1].dtype in (_KERNEL_DTYPES if len(parts) == 3 else (dt.uint8,))
    return dtype in _KERNEL_DTYPES and fitting


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
    form = format_of("qqmm", group_size, bits, mode)
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
    parts = parts_of(name, array_nodes(name, w, scales, None), form)
    return values_of(parts, form, global_scale)


def _flipped(x: Node) -> Node:
    n = x.ndim
    return transpose(x, (*range(n - 2), n - 1, n - 2))


def _requantized(x: array, form: Format, global_scale: array | None) -> Node:
    parts = quantize(x, form.group, form.bits, form.mode, global_scale=global_scale)
    return values_of([p._node for p in parts], form, global_scale)


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
    form = format_of(name, group_size, bits, mode)
    left = array_node(name, x)
    right = _second(name, w, scales, form, global_scale_w)
    rows, columns = batch_index(name, lhs_indices), batch_index(name, rhs_indices)
    shape = index_shape((left, rows), (right, columns))
    a = cast(chosen(_requantized(x, form, global_scale_x), rows, shape), left.dtype)
    right = _flipped(cast(right, left.dtype))
    if columns is None:
        return wrap(product(a, chosen(right, columns, shape)))
    return wrap(product_with_chosen(a, right, fitted(columns, shape, columns.dtype)))
