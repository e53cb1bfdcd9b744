"""From what users pass to nodes: scalars, axes, shapes, promotion, broadcasting."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mlx.array import array
from mlx.base import dtype as dt
from mlx.base.dtype import PROMOTION, Dtype, scalar_dtype
from mlx.base.errors import AxisError, DtypeError, OperandError
from mlx.base.lazy import numpy_kinds
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Full
from mlx.primitives.elementwise import cast
from mlx.primitives.reductions import Broadcast

Scalar = bool | int | float | complex
Operand = Any
"""An array, a Python scalar, or what array() makes an array of (but no list)."""

_SCALARS = (bool, int, float, complex)
_INTEGERS = frozenset({int})
_OPERANDS = (array, *_SCALARS)
_RANGES = {
    d: (-(2 ** (8 * d.size - 1)), 2 ** (8 * d.size - 1) - 1)
    if d.is_signed
    else (0, 2 ** (8 * d.size) - 1)
    for d in dt.ALL
    if d.is_integer
}


def operand(name: str, x: Operand) -> Node | Scalar:
    """The node of an array, or a Python scalar, whose dtype is weak."""
    if type(x) is array:
        return x._node
    if isinstance(x, _SCALARS):
        return x
    if isinstance(x, numpy_kinds.generic):
        return operand(name, x.item())
    if x is None:
        raise TypeError(f"[{name}] Expected an array or a number, got None.")
    if isinstance(x, str | bytes | list | tuple | dict | set):
        kind = type(x).__name__
        raise OperandError(f"[{name}] Cannot use a {kind} as an operand: make it an array first.")
    return array(x)._node


def is_operand(x: Any) -> bool:
    """Whether ``x`` is a number, an array, or of a foreign array's type."""
    return isinstance(x, (*_OPERANDS, numpy_kinds.generic)) or any(
        [hasattr(x, name) for name in ("__mlx_array__", "__dlpack__", "__array__")]
    )


def operands(name: str, *xs: Operand) -> list[Node | Scalar]:
    """Operands that meet: NumPy arrays take the dtype of the arrays beside them, unless that
    would drop a fraction or an imaginary part."""
    values = [operand(name, x) for x in xs]
    if any([isinstance(x, numpy_kinds.ndarray) for x in xs]):
        given = [
            v for v, x in zip(values, xs, strict=True) if not isinstance(x, numpy_kinds.ndarray)
        ]
        if any(isinstance(v, Node) for v in given):
            return [_beside(x, v, promoted(given)) for x, v in zip(xs, values, strict=True)]
    return values


def _beside(x: Operand, value: Node | Scalar, dtype: Dtype) -> Node | Scalar:
    if not isinstance(x, numpy_kinds.ndarray) or not isinstance(value, Node):
        return value
    return array(x, dtype)._node if _rank(value.dtype) <= _rank(dtype) else value


def _rank(dtype: Dtype) -> int:
    """The kind of a dtype: boolean, integer, real or complex."""
    return dtype.is_integer + 2 * dtype.is_float + 3 * dtype.is_complex


def node_of(name: str, x: Operand) -> Node:
    """The node of an operand; a scalar becomes one of its default dtype."""
    if type(x) is array:
        return x._node
    value = operand(name, x)
    return value if isinstance(value, Node) else scalar_node((), default_dtype(value), value)


def array_node(name: str, x: Any) -> Node:
    """The node of what must be an array."""
    if type(x) is array:
        return x._node
    if isinstance(x, _SCALARS) or x is None:
        raise TypeError(f"[{name}] Expected an array, got {type(x).__name__}.")
    return node_of(name, x)


def default_dtype(value: Scalar) -> Dtype:
    """The dtype of an array made from a Python number."""
    if isinstance(value, bool):
        return dt.bool_
    if isinstance(value, int):
        return dt.int32 if -(2**31) <= value < 2**31 else dt.int64
    return dt.float32 if isinstance(value, float) else dt.complex64


_literals: dict[Any, Full] = {(type(n), n): Full(n) for n in (0, 1, -1, 2, 0.5, 1.0, -1.0, 2.0)}
"""Shared, so that their tokens are; no 0.0, which equals -0.0."""


def constant(value: Scalar) -> Full:
    """Full(value), made without the frozen class's checks: it is on the recording path."""
    known = _literals.get((type(value), value))
    if known is not None:
        return known
    primitive = Full.__new__(Full)
    primitive.__dict__["value"] = value
    return primitive


def scalar_node(shape: Shape, dtype: Dtype, value: Scalar) -> Node:
    """A Python number as a node.  Raises ValueError where an integer does not fit."""
    if dtype.is_integer:
        low, high = _RANGES[dtype]
        if not low <= value <= high:  # type: ignore[operator]
            raise ValueError(
                f"[convert] Converting {value} to {dtype.name} would result in overflow."
            )
    elif dtype is dt.bool_:
        value = bool(value)
    elif dtype.is_float and type(value) is not float:
        if isinstance(value, complex):
            raise DtypeError(f"[convert] Converting {value} to {dtype.name} would lose a part.")
        value = float(value)
    return Node(constant(value), (), shape, dtype)


def wrapped(value: int, dtype: Dtype) -> int:
    """An integer as arithmetic in ``dtype`` leaves it."""
    low, high = _RANGES[dtype]
    return (value - low) % (high - low + 1) + low


def promoted(values: Sequence[Node | Scalar]) -> Dtype:
    """The dtype in which an operation on these operands is carried out."""
    dtype: Dtype | None = None
    for x in values:
        if isinstance(x, Node):
            dtype = x.dtype if dtype is None else PROMOTION[dtype.index][x.dtype.index]
    for x in values:
        if not isinstance(x, Node):
            dtype = default_dtype(x) if dtype is None else scalar_dtype(x, dtype)
    assert dtype is not None
    return dtype


def fitted(x: Node | Scalar, shape: Shape, dtype: Dtype) -> Node:
    """An operand as a node of exactly this shape (to which it can be broadcast) and dtype."""
    if not isinstance(x, Node):
        return scalar_node(shape, dtype, x)
    if x.dtype is not dtype:
        x = cast(x, dtype)
    if x.shape == shape:
        return x
    return Node(_stretched(len(x.shape), shape), (x,), shape, dtype)


@lru_cache(4096)
def _stretched(ndim: int, shape: Shape) -> Broadcast:
    return Broadcast(shape, tuple(range(len(shape) - ndim, len(shape))))


def common(name: str, *xs: Operand, dtype: Dtype | None = None) -> list[Node]:
    """Operands promoted to one dtype and broadcast to one shape."""
    values = operands(name, *xs)
    dtype = promoted(values) if dtype is None else dtype
    shape = broadcast_shape(*(v.shape for v in values if isinstance(v, Node)))
    return [fitted(v, shape, dtype) for v in values]


def broadcast_shape(*shapes: Shape) -> Shape:
    """The common shape under NumPy's broadcasting.  Raises ValueError where there is none."""
    if not shapes:
        return ()
    out = shapes[0]
    for shape in shapes[1:]:
        if shape != out:
            out = _broadcast_pair(out, shape)
    return out


def _broadcast_pair(a: Shape, b: Shape) -> Shape:
    if len(a) < len(b):
        a, b = b, a
    out = list(a)
    for i, n in enumerate(b, len(a) - len(b)):
        if n != out[i]:
            if out[i] == 1:
                out[i] = n
            elif n != 1:
                raise ValueError(f"[broadcast_shapes] Shapes {a} and {b} cannot be broadcast.")
    return tuple(out)


def can_broadcast(shape: Shape, to: Shape) -> bool:
    """Whether broadcasting can make one shape of another."""
    missing = len(to) - len(shape)
    return missing >= 0 and all(n in (1, m) for n, m in zip(shape, to[missing:], strict=True))


def integer(name: str, what: str, value: Any) -> int:
    """A Python integer from anything that is one."""
    try:
        return operator.index(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"[{name}] {what} must be an integer, got {kind}.") from None


def integers(name: str, what: str, values: Any) -> tuple[int, ...]:
    """Python integers from a sequence of them."""
    if type(values) is tuple and _INTEGERS.issuperset(map(type, values)):
        return values
    if isinstance(values, numpy_kinds.integer):
        values = (int(values),)
    elif not isinstance(values, (list, tuple)):
        values = sequence(name, what, values)
    return tuple([n if type(n) is int else integer(name, what, n) for n in values])


def sequence(name: str, what: str, values: Any) -> list[Any]:
    """The elements of what is no array of several dimensions and no text."""
    dimensions = getattr(values, "ndim", 1)
    if dimensions == 1 and not isinstance(values, str | bytes | dict | set):
        with contextlib.suppress(TypeError):
            return list(values)
    kind = type(values).__name__ if dimensions == 1 else f"{dimensions}-dimensional array"
    raise TypeError(f"[{name}] {what}: expected a list or tuple, got {kind}.")


def number(name: str, what: str, value: Any) -> float:
    """A Python float from a real number."""
    if not isinstance(value, str | bytes):
        with contextlib.suppress(TypeError, OverflowError):
            return float(value)
    raise TypeError(f"[{name}] {what} must be a real number, got {type(value).__name__}.")


def flag(name: str, what: str, value: Any) -> bool:
    """True or False."""
    if isinstance(value, (bool, numpy_kinds.bool_)):
        return bool(value)
    raise TypeError(f"[{name}] {what} must be True or False, got {type(value).__name__}.")


def shape_of(name: str, shape: Any) -> Shape:
    """A shape from an integer or a sequence of integers, none negative."""
    if type(shape) is tuple:
        for n in shape:
            if type(n) is not int or n < 0:
                break
        else:
            return shape
    if isinstance(shape, int):
        shape = (shape,)
    out = integers(name, "a dimension", shape)
    if out and min(out) < 0:
        raise ValueError(f"[{name}] Negative dimensions not allowed, got shape {out}.")
    return out


def axis_of(name: str, axis: Any, ndim: int) -> int:
    """An axis counted from the front."""
    if type(axis) is not int:
        axis = integer(name, "axis", axis)
    if not -ndim <= axis < ndim:
        raise AxisError(f"[{name}] Invalid axis {axis} for array with {ndim} dimensions.")
    return axis + ndim if axis < 0 else axis


def axes_of(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes counted from the front, in the order given; None means all.

    Raises ValueError where one is named twice.
    """
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, (list, tuple)):
        return (axis_of(name, axis, ndim),)
    out = tuple([axis_of(name, a, ndim) for a in axis])
    if len(set(out)) != len(out):
        raise ValueError(f"[{name}] Duplicate axes {tuple(axis)}: each may be named once.")
    return out


def dtype_of(name: str, dtype: Any) -> Dtype:
    """A dtype argument."""
    if isinstance(dtype, Dtype):
        return dtype
    raise TypeError(f"[{name}] Expected a dtype such as mx.float32, got {dtype!r}.")
