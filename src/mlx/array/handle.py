"""array: the handle that users hold.  It names a node; only the handle mutates.

What records operations is installed on the class by ``ops``: operators, methods such as
``sum``, reading and writing by index.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mlx.array import buffers, printing
from mlx.array.construct import Scan, flat_numbers, foreign, nested_numbers, python_scalar
from mlx.array.dlpack import CPU, exported
from mlx.array.values import copied_node, numpy_of, python_values, scalar_of
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype, dtype_named
from mlx.base.lazy import numpy as np
from mlx.base.lazy import numpy_kinds
from mlx.graph.node import Node

if TYPE_CHECKING:
    from mlx.array.signatures import Installed, InstalledAt
else:
    Installed = InstalledAt = object


class array(Installed):  # noqa: N801 (MLX's name)
    """An n-dimensional array, evaluated when its value is needed.

    ``val`` is a number, a nested list or tuple of numbers or arrays (which are stacked), an
    array, a NumPy array or whatever else exports DLPack, the buffer protocol or ``__array__``;
    its elements are copied.  Without ``dtype`` floats become float32, complex numbers
    complex64, integers int32 or, where they don't fit, int64; NumPy's other dtypes stay.

    Raises ValueError for what is no array of numbers and TypeError where ``dtype`` is none.

    >>> import mlx.core as mx
    >>> mx.array([[1, 2], [3, 4]])
    array([[1, 2],
           [3, 4]], dtype=int32)
    """

    __slots__ = ("__weakref__", "_node")

    _node: Node
    _stack: ClassVar[Callable[[Sequence[Any]], Any]]
    """Installed by ops: a nested list that holds arrays as one array."""

    def __init__(self, val: Any, dtype: Dtype | None = None) -> None:
        if dtype is not None and not isinstance(dtype, Dtype):
            raise TypeError(f"[array] dtype must be a data type such as mx.float32, got {dtype!r}.")
        self._node = _node_from(val, dtype)

    # -- what it is --------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The size along each axis."""
        return self._node.shape

    @property
    def dtype(self) -> Dtype:
        """The data type of the elements."""
        return self._node.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self._node.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._node.size

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self._node.dtype.size

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._node.size * self._node.dtype.size

    @property
    def at(self) -> ArrayAt:
        """Updates at indices that, unlike ``a[i] += x``, count repeated indices repeatedly.

        >>> import mlx.core as mx
        >>> mx.zeros(3).at[mx.array([0, 0, 2])].add(1)
        array([2, 0, 1], dtype=float32)
        """
        return ArrayAt(self)

    # -- its value in Python -----------------------------------------------------------

    def item(self) -> Any:
        """The only element as a Python number.  Raises ValueError where there are several.

        >>> import mlx.core as mx
        >>> mx.array([1.5]).item()
        1.5
        """
        node = self._node
        if node.shape and node.size != 1:
            raise ValueError(
                "[convert] Only length-1 arrays can be converted to Python scalars, got shape "
                f"{node.shape} (tolist() gives nested lists)."
            )
        return scalar_of(node)

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers; a number for a 0-dimensional array.

        >>> import mlx.core as mx
        >>> mx.array([[1, 2], [3, 4]]).tolist()
        [[1, 2], [3, 4]]
        """
        return python_values(self._node)

    def __len__(self) -> int:
        shape = self._node.shape
        if not shape:
            raise TypeError("[len] A 0-dimensional array has no length.")
        return shape[0]

    def __iter__(self) -> Iterator[array]:
        if not self._node.shape:
            raise TypeError("[iter] A 0-dimensional array cannot be iterated over.")
        return ArrayIterator(self)

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        node = self._node
        if node.shape or not node.dtype.is_integer:
            raise TypeError(
                "Only 0-dimensional integer arrays can be converted to an index, got "
                f"{node.dtype.name} of shape {node.shape}."
            )
        return self.item()

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return printing.text(numpy_of(self._node), self._node.dtype)

    def __format__(self, spec: str) -> str:
        if not self._node.shape:
            return format(self.item(), spec)
        if spec:
            raise TypeError(
                f"[format] The format {spec!r} needs a 0-dimensional array, got shape "
                f"{self._node.shape}."
            )
        return repr(self)

    # -- its memory --------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(numpy_of(self._node), dtype=dtype, copy=copy)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        values = numpy_of(self._node)
        if self._node.dtype is dt.bfloat16:
            raise AttributeError("NumPy's array interface has no bfloat16; use np.asarray.")
        interface = dict(values.__array_interface__)
        # A buffer, not an address: its owner is the memory, and not this handle, which may be
        # bound to another value while the view lives.
        interface["data"] = values.reshape(-1).view(np.uint8)
        return interface

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        return exported(
            numpy_of(self._node), max_version=max_version, dl_device=dl_device, copy=copy
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        return (CPU, 0)

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        if api_version is not None:
            raise ValueError("[array_namespace] Choosing an api_version is not supported.")
        return sys.modules["mlx.core"]

    def __buffer__(self, flags: int, /) -> memoryview:
        """The buffer protocol: ``memoryview(a)`` is the memory of ``a``."""
        if self._node.dtype is dt.bfloat16:
            raise BufferError("The buffer protocol has no bfloat16; use np.asarray.")
        return numpy_of(self._node).data

    def __bytes__(self) -> bytes:
        return numpy_of(self._node).tobytes()

    # -- copies ------------------------------------------------------------------------

    def __copy__(self) -> array:
        return wrap(self._node)

    def __deepcopy__(self, memo: Any) -> array:
        return wrap(self._node)

    def __getstate__(self) -> tuple[np.ndarray, str]:
        values, dtype = numpy_of(self._node), self._node.dtype
        return (values.view(np.uint16) if dtype is dt.bfloat16 else values), dtype.name

    def __setstate__(self, state: tuple[np.ndarray, str]) -> None:
        values, name = state
        dtype = dtype_named(name)
        self._node = copied_node(values.view(dtype.numpy), dtype)


array.__module__ = "mlx.core"  # its public name, also in pickles
if sys.version_info < (3, 12):
    buffers.install(array)


def wrap(node: Node) -> array:
    """The handle of a node."""
    handle = array.__new__(array)
    handle._node = node
    return handle


def _node_from(val: Any, dtype: Dtype | None) -> Node:
    if dtype is None and type(val) in (float, int):
        return python_scalar(val, None)
    if type(val) in (list, tuple) and (found := flat_numbers(val, dtype)) is not None:
        return found
    if isinstance(val, (list, tuple)):
        scan = Scan(val, array)
        if scan.has_arrays:
            return _cast(array._stack(val), dtype)
        return _truncated(lambda d: nested_numbers(val, scan, d), dtype, scan.is_inexact)
    if isinstance(val, array):
        return _cast(val, dtype)
    if isinstance(val, (bool, int, float, complex)) and not isinstance(
        val, numpy_kinds.complexfloating
    ):
        return _truncated(lambda d: python_scalar(val, d), dtype, isinstance(val, float))
    if val is None:
        raise TypeError("[array] Expected a number, a list, or an array, got None.")
    if hasattr(val, "__mlx_array__"):
        return _cast(val.__mlx_array__(), dtype)
    if dtype is not None and dtype.is_integer:
        return _cast(wrap(foreign(val, None)), dtype)
    return foreign(val, dtype)


def _cast(value: array, dtype: Dtype | None) -> Node:
    if dtype is None or value.dtype is dtype:
        return value._node
    return value.astype(dtype)._node


def _truncated(make: Callable[[Dtype | None], Node], dtype: Dtype | None, is_inexact: bool) -> Node:
    """A value in ``dtype``.  Truncating floats is left to the operation that casts, so that
    both agree outside the range of ``dtype``."""
    if is_inexact and dtype is not None and dtype.is_integer:
        return _cast(wrap(make(dt.float64)), dtype)
    return make(dtype)


class ArrayIterator:
    """Iterates over the first axis."""

    __slots__ = ("_at", "_over")

    def __init__(self, over: array) -> None:
        self._over = over
        self._at = 0

    def __iter__(self) -> ArrayIterator:
        return self

    def __next__(self) -> array:
        if self._at >= self._over.shape[0]:
            raise StopIteration
        self._at += 1
        return self._over[self._at - 1]


class ArrayAt(InstalledAt):
    """``a.at[indices]``: updates of an array that leave the array as it is.

    Its methods ``add``, ``subtract``, ``multiply``, ``divide``, ``maximum`` and ``minimum``
    (installed by ops) return the updated array; repeated indices count repeatedly.
    """

    __slots__ = ("_array", "_indices")

    _indices: Any

    def __init__(self, of: array) -> None:
        self._array = of

    def __getitem__(self, indices: Any) -> ArrayAt:
        found = ArrayAt(self._array)
        found._indices = indices
        return found


ArrayIterator.__module__ = ArrayAt.__module__ = "mlx.core"
