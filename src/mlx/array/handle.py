"""The handle: it names a node, and only it mutates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlx.array import construct, printing
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.graph.node import Node
from mlx.graph.trace import check_readable
from mlx.runtime.buffer import numpy_view
from mlx.runtime.evaluate import evaluate


class array:  # noqa: N801 (MLX's name)
    """An n-dimensional array, evaluated when its value is needed.

    Args:
        val: a number, nested lists or tuples of numbers or arrays, a NumPy array (copied), or
            an object with ``__dlpack__`` (shared) or the buffer protocol.
        dtype: its data type; by default float32 for floats, int32 for integers (int64 where
            they don't fit), bool and complex64.

    Raises ValueError for nested lists of different lengths and for what is no array.

    >>> import mlx.core as mx
    >>> mx.array([1.0, 2.0]) * 2
    array([2, 4], dtype=float32)
    """

    __slots__ = ("__weakref__", "_node")

    _node: Node

    def __init__(self, val: Any, dtype: Dtype | None = None) -> None:
        self._node = construct.node_from(val, dtype, _unwrap)

    # -- what it is --------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self._node.shape

    @property
    def dtype(self) -> Dtype:
        """The data type."""
        return self._node.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._node.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._node.size

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self._node.dtype.size

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._node.size * self._node.dtype.size

    def __len__(self) -> int:
        if not self._node.shape:
            raise TypeError("len() 0-dimensional array.")
        return self._node.shape[0]

    def __iter__(self) -> Iterator[array]:
        if not self._node.shape:
            raise TypeError("iter() 0-dimensional array.")
        return (self[i] for i in range(len(self)))  # type: ignore[index]

    __hash__ = object.__hash__

    # -- its value ---------------------------------------------------------------------

    def _numpy(self) -> np.ndarray:
        """A NumPy view of the evaluated data."""
        node = self._node
        check_readable([node])
        evaluate([node])
        return numpy_view(node.data, node.shape, node.dtype)

    def item(self) -> Any:
        """The only element as a Python number.  Raises ValueError for other sizes."""
        if self._node.size != 1:
            raise ValueError(
                "[convert] Only length-1 arrays can be converted to Python scalars, not one of "
                f"shape {self.shape}."
            )
        value = self._numpy().reshape(())[()]
        return float(value) if self._node.dtype.is_float else value.item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers (a number for no axes)."""
        values = self._numpy()
        if self._node.dtype is dt.bfloat16:
            values = values.astype(np.float32)
        return values.tolist()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self._node.shape or not self._node.dtype.is_integer:
            raise TypeError("Only 0-dimensional integer arrays can be converted to an index.")
        return self.item()

    def __repr__(self) -> str:
        return printing.text(self._numpy(), self._node.dtype.name)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    # -- other frameworks --------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        values = self._numpy()
        if dtype is not None and values.dtype != np.dtype(dtype):
            if copy is False:
                raise ValueError(f"[array] converting {self.dtype.name} to {dtype} needs a copy.")
            return values.astype(dtype)
        return values.copy() if copy else values

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._numpy().__array_interface__

    def __dlpack__(self, **options: Any) -> Any:
        return self._numpy().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __buffer__(self, flags: int) -> memoryview:
        return memoryview(self._numpy())

    def __bytes__(self) -> bytes:
        return self._numpy().tobytes()

    # -- copies ------------------------------------------------------------------------

    def __reduce__(self) -> Any:
        values = self._numpy()
        if self._node.dtype is dt.bfloat16:
            return _restore, (values.view(np.uint16).copy(), "bfloat16")
        return _restore, (values.copy(), self._node.dtype.name)

    def __copy__(self) -> array:
        return wrap(self._node)

    def __deepcopy__(self, memo: Any) -> array:
        return wrap(self._node)


def _unwrap(value: Any) -> Node | None:
    return value._node if isinstance(value, array) else None


def _restore(values: np.ndarray, name: str) -> array:
    dtype = dt.dtype_named(name)
    return wrap(construct.from_memory(np.ascontiguousarray(values), dtype))


def wrap(node: Node) -> array:
    """The handle of a node."""
    handle = array.__new__(array)
    handle._node = node
    return handle
