"""Between nodes and memory: values into nodes, nodes' values out as NumPy arrays."""

from __future__ import annotations

import ctypes
import struct
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.lazy import numpy as np
from mlx.graph import trace
from mlx.graph.node import Node
from mlx.runtime.buffer import Buffer, numpy_view
from mlx.runtime.evaluate import evaluate
from mlx.runtime.memory import allocate, wrap


def value_node(shape: tuple[int, ...], dtype: Dtype, buffer: Buffer) -> Node:
    """A node that never was an operation."""
    return Node(None, (), shape, dtype, buffer)


CODES = {
    dt.bool_: "?", dt.uint8: "B", dt.uint16: "H", dt.uint32: "I", dt.uint64: "Q", dt.int8: "b",
    dt.int16: "h", dt.int32: "i", dt.int64: "q", dt.float16: "e", dt.float32: "f",
    dt.float64: "d",
}  # fmt: skip
"""Of the module struct; of no half as wide as bfloat16, and no complex numbers."""
_SCALARS = {dtype: struct.Struct("=" + code) for dtype, code in CODES.items()}
_KINDS: dict[Dtype, Any] = {
    dt.bool_: ctypes.c_bool, dt.uint8: ctypes.c_uint8, dt.uint16: ctypes.c_uint16,
    dt.uint32: ctypes.c_uint32, dt.uint64: ctypes.c_uint64, dt.int8: ctypes.c_int8,
    dt.int16: ctypes.c_int16, dt.int32: ctypes.c_int32, dt.int64: ctypes.c_int64,
    dt.float32: ctypes.c_float, dt.float64: ctypes.c_double,
}  # fmt: skip
_FEW = 1024
"""Bytes up to which elements pass as bytes; with NumPy it takes longer to begin."""


def scalar_node(value: bool | int | float | complex, dtype: Dtype) -> Node:
    """A 0-dimensional value, converted as NumPy converts arrays."""
    try:
        raw = _SCALARS[dtype].pack(value)
    except (KeyError, struct.error, OverflowError):  # other dtypes, values out of range
        with np.errstate(all="ignore"):
            raw = np.asarray(value).astype(dtype.numpy).tobytes()
    return raw_node(raw, (), dtype)


def raw_node(raw: bytes, shape: tuple[int, ...], dtype: Dtype) -> Node:
    """The elements that these bytes are."""
    storage = allocate(len(raw))
    ctypes.memmove(storage.address, raw, len(raw))
    return Node(None, (), shape, dtype, Buffer(storage))


def scalar_of(node: Node) -> Any:
    """The value of a node of one element as a Python number."""
    kind = _KINDS.get(node.dtype)
    if kind is None:
        return python_values(node, ())
    buffer = _readable(node)
    if buffer.ticket is not None:
        buffer.wait()
    return kind.from_address(buffer.address).value


def copied_node(source: np.ndarray, dtype: Dtype) -> Node:
    """A copy of NumPy's elements in ``dtype``, row-major."""
    is_same = source.dtype == dtype.numpy
    if is_same and source.nbytes <= _FEW:
        return raw_node(source.tobytes(), source.shape, dtype)
    buffer = Buffer(allocate(source.size * dtype.size))
    if is_same:
        np.copyto(numpy_view(buffer, source.shape, dtype), source)
        return Node(None, (), source.shape, dtype, buffer)
    if source.dtype.kind == "c" and not dtype.is_complex:
        source = source.real
    with np.errstate(all="ignore"):
        np.copyto(numpy_view(buffer, source.shape, dtype), source, casting="unsafe")
    return Node(None, (), source.shape, dtype, buffer)


def shared_node(source: np.ndarray, dtype: Dtype, owner: Any) -> Node | None:
    """The elements where they lie, which ``owner`` keeps alive; None where they aren't
    row-major and aligned in the same dtype."""
    layout = source.flags
    if source.dtype != dtype.numpy or not (layout.c_contiguous and layout.aligned):
        return None
    storage = wrap(owner, source.ctypes.data, source.nbytes)
    return value_node(source.shape, dtype, Buffer(storage))


def _readable(node: Node) -> Buffer:
    """The evaluated data of a node."""
    if trace.any_open() and trace.active():
        trace.check_readable((node,))
    data = node.data
    if type(data) is not Buffer:
        evaluate((node,))
        data = node.data
    return data


def numpy_of(node: Node) -> np.ndarray:
    """The value of a node as a NumPy array on its memory (bfloat16 through ml_dtypes).

    Raises ValueError where the node has no value because a function is being transformed.
    """
    return numpy_view(_readable(node), node.shape, node.dtype)


def python_values(node: Node, shape: tuple[int, ...] | None = None) -> Any:
    """Nested lists of Python numbers, one number for no axes; ``shape`` in place of its own."""
    if shape is None and node.shape and (values := _few_values(node)) is not None:
        return values
    values = numpy_of(node)
    if shape is not None:
        values = values.reshape(shape)
    return (values.astype(np.float32) if node.dtype is dt.bfloat16 else values).tolist()


def _few_values(node: Node) -> Any:
    """Nested lists of few numbers, read without NumPy; None of others."""
    code = CODES.get(node.dtype)
    nbytes = node.size * node.dtype.size
    if code is None or code == "e" or not 0 < nbytes <= _FEW:
        return None
    buffer = _readable(node)
    if buffer.ticket is not None:
        buffer.wait()
    raw: Any = memoryview(ctypes.string_at(buffer.address, nbytes))
    return raw.cast(code, node.shape).tolist()
