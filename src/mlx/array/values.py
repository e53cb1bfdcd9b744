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
_FEW = 4096
"""Bytes that are moved faster than NumPy's views of memory are made."""


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
    layout = _SCALARS.get(node.dtype)
    if layout is None:
        return python_values(node, ())
    buffer = _readable(node)
    buffer.wait()
    return layout.unpack(ctypes.string_at(buffer.address, layout.size))[0]


def copied_node(source: np.ndarray, dtype: Dtype) -> Node:
    """A copy of NumPy's elements in ``dtype``, row-major."""
    if source.nbytes <= _FEW and source.dtype == dtype.numpy:
        return raw_node(source.tobytes(), source.shape, dtype)
    buffer = Buffer(allocate(source.size * dtype.size))
    if source.dtype == dtype.numpy:
        np.copyto(numpy_view(buffer, source.shape, dtype), source)
        return Node(None, (), source.shape, dtype, buffer)
    if source.dtype.kind == "c" and not dtype.is_complex:
        source = source.real
    with np.errstate(all="ignore"):
        np.copyto(numpy_view(buffer, source.shape, dtype), source, casting="unsafe")
    return Node(None, (), source.shape, dtype, buffer)


def _few_values(node: Node, layout: str) -> list[Any]:
    """The elements along one axis, an element of which has the layout "=x"."""
    buffer = _readable(node)
    buffer.wait()
    raw = ctypes.string_at(buffer.address, node.dtype.size * node.shape[0])
    return list(struct.unpack(f"={node.shape[0]}{layout[1]}", raw))


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
    if trace.active():
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
    layout = _SCALARS.get(node.dtype)
    if shape is None and len(node.shape) == 1 and layout and node.shape[0] <= _FEW // layout.size:
        return _few_values(node, layout.format)
    values = numpy_of(node)
    if shape is not None:
        values = values.reshape(shape)
    return (values.astype(np.float32) if node.dtype is dt.bfloat16 else values).tolist()
