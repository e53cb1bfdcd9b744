"""Between nodes and memory: values into nodes, nodes' values out as NumPy arrays."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.graph import trace
from mlx.graph.node import Node
from mlx.runtime.buffer import Buffer, numpy_view
from mlx.runtime.evaluate import evaluate
from mlx.runtime.memory import allocate, wrap


def value_node(shape: tuple[int, ...], dtype: Dtype, buffer: Buffer) -> Node:
    """A node that never was an operation."""
    return Node(None, (), shape, dtype, buffer)


def scalar_node(value: bool | int | float | complex, dtype: Dtype) -> Node:
    """A 0-dimensional value, converted as NumPy converts arrays."""
    with np.errstate(all="ignore"):
        raw = np.asarray(value).astype(dtype.numpy).tobytes()
    storage = allocate(dtype.size)
    ctypes.memmove(storage.address, raw, dtype.size)
    return value_node((), dtype, Buffer(storage))


def copied_node(source: np.ndarray, dtype: Dtype) -> Node:
    """A copy of NumPy's elements in ``dtype``, row-major."""
    buffer = Buffer(allocate(source.size * dtype.size))
    if source.dtype.kind == "c" and not dtype.is_complex:
        source = source.real
    with np.errstate(all="ignore"):
        np.copyto(numpy_view(buffer, source.shape, dtype), source, casting="unsafe")
    return value_node(source.shape, dtype, buffer)


def shared_node(source: np.ndarray, dtype: Dtype, owner: Any) -> Node | None:
    """The elements where they lie, which ``owner`` keeps alive; None where they aren't
    row-major and aligned in the same dtype."""
    layout = source.flags
    if source.dtype != dtype.numpy or not (layout.c_contiguous and layout.aligned):
        return None
    storage = wrap(owner, source.ctypes.data, source.nbytes)
    return value_node(source.shape, dtype, Buffer(storage))


def numpy_of(node: Node) -> np.ndarray:
    """The value of a node as a NumPy array on its memory (bfloat16 through ml_dtypes).

    Raises ValueError where the node has no value because a function is being transformed.
    """
    if trace.active():
        trace.check_readable((node,))
    if type(node.data) is not Buffer:
        evaluate((node,))
    return numpy_view(node.data, node.shape, node.dtype)


def python_values(node: Node) -> Any:
    """Nested lists of Python numbers; one number for a 0-dimensional array."""
    values = numpy_of(node)
    return (values.astype(np.float32) if node.dtype is dt.bfloat16 else values).tolist()
