"""From Python values, NumPy arrays and other frameworks' arrays to nodes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype, from_numpy
from mlx.graph.node import Node
from mlx.primitives.elementwise import cast
from mlx.primitives.views import Concatenate, reshape
from mlx.runtime.buffer import Buffer
from mlx.runtime.memory import allocate, wrap

_SCALARS = (bool, int, float, complex)


def from_memory(source: np.ndarray, dtype: Dtype) -> Node:
    """A copy of a C-contiguous NumPy array as a node."""
    storage = allocate(source.nbytes or 1)
    if source.nbytes:
        ctypes.memmove(storage.address, source.ctypes.data, source.nbytes)
    return Node(None, (), source.shape, dtype, Buffer(storage))


def node_from(value: Any, dtype: Dtype | None, unwrap: Callable[[Any], Node | None]) -> Node:
    """The node for any value that ``array()`` takes; ``unwrap`` gives an array's node.

    Raises TypeError or ValueError for what is none.
    """
    node = unwrap(value)
    if node is not None:
        return node if dtype is None else cast(node, dtype)
    if isinstance(value, _SCALARS):
        return _from_python(value, (), dtype, [value])
    if isinstance(value, list | tuple):
        return _from_nested(value, dtype, unwrap)
    if isinstance(value, np.ndarray | np.generic):
        return from_numpy_array(np.asarray(value), dtype, weak=isinstance(value, np.generic))
    node = _from_protocols(value)
    if node is None:
        raise _invalid(value)
    return node if dtype is None else cast(node, dtype)


def _invalid(value: Any) -> Exception:
    if value is None:
        return TypeError(
            "[array] Cannot make an array of None; pass a number, a list or tuple of numbers or "
            "arrays, a NumPy array, or an object with __dlpack__ or the buffer protocol."
        )
    return ValueError(f"Invalid type {type(value).__name__} received in array initialization.")


def _from_protocols(value: Any) -> Node | None:
    if hasattr(value, "__mlx_array__"):
        return value.__mlx_array__()._node
    if hasattr(value, "__dlpack__"):
        return from_dlpack(value)
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return from_numpy_array(np.asarray(value), None)
    try:
        return from_numpy_array(np.asarray(memoryview(value)), None)
    except TypeError:
        return None


def from_dlpack(value: Any) -> Node:
    """Shares the memory of another framework's array where its layout allows."""
    source = np.from_dlpack(value)
    dtype = from_numpy(source.dtype)
    if dtype is None or not source.flags.c_contiguous or source.size == 0:
        return from_numpy_array(source, None)
    storage = wrap(source, source.ctypes.data, source.nbytes)
    return Node(None, (), source.shape, dtype, Buffer(storage))


def from_numpy_array(source: np.ndarray, dtype: Dtype | None, weak: bool = False) -> Node:
    """A copy of a NumPy array; float64 becomes float32 unless asked for."""
    if not source.dtype.isnative:
        source = source.astype(source.dtype.newbyteorder("="))
    if source.dtype == np.complex128:
        source = source.astype(np.complex64)
    own = from_numpy(source.dtype)
    if own is None:
        raise ValueError(
            f"[array] NumPy arrays of dtype {source.dtype} are not supported; convert to one of "
            f"{', '.join(d.name for d in dt.ALL)} first."
        )
    wanted = dtype or (dt.float32 if own is dt.float64 else own)
    if wanted is not own and wanted.is_float and own.is_float:
        source, own = source.astype(wanted.numpy), wanted
    return cast(from_memory(np.ascontiguousarray(source).reshape(source.shape), own), wanted)


def _from_nested(value: Any, dtype: Dtype | None, unwrap: Callable[[Any], Node | None]) -> Node:
    """Nested lists and tuples of numbers, or of arrays, which are stacked."""
    shape: list[int] = []
    level: list[Any] = [value]
    while level and isinstance(level[0], list | tuple):
        shape.append(len(level[0]))
        for item in level:
            if not isinstance(item, list | tuple) or len(item) != shape[-1]:
                raise ValueError("Initialization encountered non-uniform length.")
        level = [x for item in level for x in item]
    nodes = [unwrap(x) for x in level]
    if not any(n is not None for n in nodes):
        return _from_python(None, tuple(shape), dtype, level)
    made = [
        n if n is not None else node_from(x, None, unwrap)
        for n, x in zip(nodes, level, strict=True)
    ]
    return _stacked(made, tuple(shape), dtype)


def _stacked(nodes: list[Node], shape: tuple[int, ...], dtype: Dtype | None) -> Node:
    if any(n.shape != nodes[0].shape for n in nodes):
        raise ValueError("Initialization encountered non-uniform length.")
    common = dtype or nodes[0].dtype
    if dtype is None:
        for node in nodes:
            common = dt.promote(common, node.dtype)
    flat = [reshape(cast(n, common), (1, *n.shape)) for n in nodes]
    joined = Concatenate(0)(*flat) if len(flat) > 1 else flat[0]
    return reshape(joined, (*shape, *nodes[0].shape))


def _kind(values: list[Any]) -> Dtype:
    """The dtype of a list of Python numbers."""
    found = dt.bool_
    for x in values:
        if isinstance(x, bool):
            continue
        if isinstance(x, complex):
            return dt.complex64
        if isinstance(x, float):
            found = dt.float32
        elif isinstance(x, int):
            if found is dt.bool_:
                found = dt.int32
            if not -(2**31) <= x < 2**31 and found is dt.int32:
                found = dt.int64 if x < 2**63 else dt.uint64
        else:
            raise _invalid(x)
    return dt.complex64 if any(isinstance(x, complex) for x in values) else found


def _from_python(
    value: Any, shape: tuple[int, ...], dtype: Dtype | None, values: list[Any]
) -> Node:
    own = _kind(values) if values else dt.float32
    if dtype is None:
        dtype = own
    try:
        if own.is_inexact or dtype.is_inexact:
            wide = np.array(values, np.complex128 if own.is_complex else np.float64)
            if own.is_complex and not dtype.is_complex:
                wide = wide.real
            narrow = wide.astype(dtype.numpy) if dtype.is_inexact else _to_integer(wide, dtype)
        else:
            narrow = _to_integer(np.array(values, object), dtype)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"[array] {error}: a number does not fit {dtype.name}.") from error
    return from_memory(np.ascontiguousarray(narrow.reshape(shape)), dtype)


def _to_integer(values: np.ndarray, dtype: Dtype) -> np.ndarray:
    """Numbers modulo the range of an integer dtype."""
    if dtype is dt.bool_:
        return values.astype(bool)
    bits = 8 * dtype.size
    whole = [int(x) for x in values.reshape(-1)]
    if any(not -(2**63) <= x < 2**64 for x in whole):
        raise OverflowError("an integer beyond 64 bits")
    wrapped = [x % 2**bits for x in whole]
    unsigned = np.array(wrapped, np.dtype(f"u{dtype.size}")).reshape(values.shape)
    return unsigned.view(dtype.numpy)
