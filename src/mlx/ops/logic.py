"""Comparison and logic, element by element, with bool results; bits.

>>> import mlx.core as mx
"""

from __future__ import annotations

from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.graph.chains import by_types
from mlx.graph.node import Node
from mlx.ops.operands import (
    Operand,
    broadcast_shape,
    fitted,
    flag,
    node_of,
    number,
    operands,
    promoted,
    scalar_node,
)
from mlx.ops.record import any_dtype, binary, bits, chosen_beside, integers, truth, unary
from mlx.primitives.arithmetic import Absolute
from mlx.primitives.base import full_like
from mlx.primitives.bitwise import (
    BitwiseAnd,
    BitwiseInvert,
    BitwiseOr,
    BitwiseXor,
    LeftShift,
    RightShift,
)
from mlx.primitives.complex import Imag, Real
from mlx.primitives.elementwise import (
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    NotEqual,
    Select,
    cast,
)
from mlx.primitives.reductions import Min, reduce_axes

_EXPONENTS = {dt.float16: 15, dt.bfloat16: 127, dt.float32: 127, dt.float64: 1023}
LARGEST = {d: (2 - 2.0**-bits) * 2.0 ** _EXPONENTS[d] for d, bits in dt.FRACTION_BITS.items()}

_equal = binary("equal", Equal(), any_dtype)
_not_equal = binary("not_equal", NotEqual(), any_dtype)
_less = binary("less", Less(), any_dtype)
_less_equal = binary("less_equal", LessEqual(), any_dtype)
_greater = binary("greater", Greater(), any_dtype)
_greater_equal = binary("greater_equal", GreaterEqual(), any_dtype)
_logical_and = binary("logical_and", BitwiseAnd(), truth)
_logical_or = binary("logical_or", BitwiseOr(), truth)
_logical_xor = binary("logical_xor", BitwiseXor(), truth)
_bitwise_and = binary("bitwise_and", BitwiseAnd(), bits)
_bitwise_or = binary("bitwise_or", BitwiseOr(), bits)
_bitwise_xor = binary("bitwise_xor", BitwiseXor(), bits)
_left_shift = binary("left_shift", LeftShift(), integers)
_right_shift = binary("right_shift", RightShift(), integers)
_logical_not = unary("logical_not", BitwiseInvert(), truth)
_bitwise_invert = unary("bitwise_invert", BitwiseInvert(), bits)


def equal(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a == b.

    >>> mx.equal(mx.array([1, 2]), mx.array([1, 3]))
    array([True, False], dtype=bool)
    """
    return _equal(a, b)


def not_equal(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a != b.

    >>> mx.not_equal(mx.array([1, 2]), mx.array([1, 3]))
    array([False, True], dtype=bool)
    """
    return _not_equal(a, b)


def less(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a < b.

    >>> mx.less(mx.array([1, 2]), mx.array([1, 3]))
    array([False, True], dtype=bool)
    """
    return _less(a, b)


def less_equal(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a <= b.

    >>> mx.less_equal(mx.array([1, 2]), mx.array([1, 3]))
    array([True, True], dtype=bool)
    """
    return _less_equal(a, b)


def greater(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a > b.

    >>> mx.greater(mx.array([1, 2]), mx.array([1, 3]))
    array([False, False], dtype=bool)
    """
    return _greater(a, b)


def greater_equal(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a >= b.

    >>> mx.greater_equal(mx.array([1, 2]), mx.array([1, 3]))
    array([True, False], dtype=bool)
    """
    return _greater_equal(a, b)


def logical_and(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """Whether both are nonzero.

    >>> mx.logical_and(mx.array([0, 2]), mx.array([1, 1]))
    array([False, True], dtype=bool)
    """
    return _logical_and(a, b)


def logical_or(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """Whether one is nonzero.

    >>> mx.logical_or(mx.array([0, 2]), mx.array([1, 1]))
    array([True, True], dtype=bool)
    """
    return _logical_or(a, b)


def logical_xor(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """Whether exactly one is nonzero.

    >>> mx.logical_xor(mx.array([0, 2]), mx.array([1, 1]))
    array([True, False], dtype=bool)
    """
    return _logical_xor(a, b)


def logical_not(a: Operand, /, *, stream: Any = None) -> array:
    """Whether it is zero.

    >>> mx.logical_not(mx.array([0, 2]))
    array([True, False], dtype=bool)
    """
    return _logical_not(a)


def bitwise_and(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a & b of integers or booleans.

    >>> mx.bitwise_and(mx.array([6, 5]), 2)
    array([2, 0], dtype=int32)
    """
    return _bitwise_and(a, b)


def bitwise_or(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a | b of integers or booleans.

    >>> mx.bitwise_or(mx.array([6, 5]), 2)
    array([6, 7], dtype=int32)
    """
    return _bitwise_or(a, b)


def bitwise_xor(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a ^ b of integers or booleans.

    >>> mx.bitwise_xor(mx.array([6, 5]), 2)
    array([4, 7], dtype=int32)
    """
    return _bitwise_xor(a, b)


def left_shift(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a << b of integers.

    >>> mx.left_shift(mx.array([6, 5]), 2)
    array([24, 20], dtype=int32)
    """
    return _left_shift(a, b)


def right_shift(a: Operand, b: Operand, /, *, stream: Any = None) -> array:
    """a >> b of integers, keeping the sign.

    >>> mx.right_shift(mx.array([6, 5]), 2)
    array([1, 1], dtype=int32)
    """
    return _right_shift(a, b)


def bitwise_invert(a: Operand, /, *, stream: Any = None) -> array:
    """~a of integers or booleans.

    >>> mx.bitwise_invert(mx.array([0, 5]))
    array([-1, -6], dtype=int32)
    """
    return _bitwise_invert(a)


bitwise_left_shift, bitwise_right_shift = left_shift, right_shift


def _parts(x: Node) -> list[Node]:
    return [Real()(x), Imag()(x)] if x.dtype.is_complex else [x]


def isnan(a: Operand, /, *, stream: Any = None) -> array:
    """Whether it is NaN.

    >>> mx.isnan(mx.array([1.0, float("nan")]))
    array([False, True], dtype=bool)
    """
    x = node_of("isnan", a)
    return wrap(NotEqual()(x, x))


def _equals(x: Node, value: float) -> Node:
    """Whether x equals a value that only inexact dtypes have."""
    if not x.dtype.is_inexact:
        return full_like(cast(x, dt.bool_), False)
    return Equal()(x, full_like(x, value))


def isinf(a: Operand, /, *, stream: Any = None) -> array:
    """Whether it is infinite, or a part of it is.

    >>> mx.isinf(mx.array([1.0, float("-inf")]))
    array([False, True], dtype=bool)
    """
    hits = [_equals(Absolute()(p), float("inf")) for p in _parts(node_of("isinf", a))]
    return wrap(hits[0] if len(hits) == 1 else BitwiseOr()(*hits))


def isposinf(a: Operand, /, *, stream: Any = None) -> array:
    """Whether it is positive infinity.

    >>> mx.isposinf(mx.array([float("inf"), float("-inf")]))
    array([True, False], dtype=bool)
    """
    return wrap(_equals(node_of("isposinf", a), float("inf")))


def isneginf(a: Operand, /, *, stream: Any = None) -> array:
    """Whether it is negative infinity.

    >>> mx.isneginf(mx.array([float("inf"), float("-inf")]))
    array([False, True], dtype=bool)
    """
    return wrap(_equals(node_of("isneginf", a), float("-inf")))


def isfinite(a: Operand, /, *, stream: Any = None) -> array:
    """Whether it is neither infinite nor NaN.

    >>> mx.isfinite(mx.array([1.0, float("inf"), float("nan")]))
    array([True, False, False], dtype=bool)
    """
    x = node_of("isfinite", a)
    if not x.dtype.is_inexact:
        return wrap(full_like(cast(x, dt.bool_), True))
    hits = [Less()(Absolute()(p), full_like(p, float("inf"))) for p in _parts(x)]
    return wrap(hits[0] if len(hits) == 1 else BitwiseAnd()(*hits))


def isclose(
    a: Operand,
    b: Operand,
    /,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    *,
    equal_nan: bool = False,
    stream: Any = None,
) -> array:
    """Whether ``abs(a - b) <= atol + rtol * abs(b)``; infinities must be equal.

    >>> mx.isclose(mx.array([1.0, 2.0]), mx.array([1.0000001, 2.1]))
    array([True, False], dtype=bool)
    """
    values = operands("isclose", a, b)
    dtype = dt.at_least_float(promoted(values))
    shape = broadcast_shape(*(v.shape for v in values if isinstance(v, Node)))
    x, y = (fitted(v, shape, dtype) for v in values)
    real = dt.float32 if dtype.is_complex else dtype
    within = scalar_node(shape, real, number("isclose", "atol", atol))
    share = scalar_node(shape, real, number("isclose", "rtol", rtol))
    return wrap(_close(x, y, within, share, flag("isclose", "equal_nan", equal_nan)))


@by_types(4)
def _close(x: Node, y: Node, within: Node, share: Node, equal_nan: bool) -> Node:
    near = Absolute()(x - y) <= Absolute()(y) * share + within
    finite = BitwiseAnd()(isfinite(wrap(x))._node, isfinite(wrap(y))._node)
    near = BitwiseOr()(BitwiseAnd()(near, finite), Equal()(x, y))
    if equal_nan:
        near = BitwiseOr()(near, BitwiseAnd()(NotEqual()(x, x), NotEqual()(y, y)))
    return near


def _all(x: Node) -> array:
    return wrap(reduce_axes(Min, x, range(x.ndim)))


def allclose(
    a: Operand,
    b: Operand,
    /,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    *,
    equal_nan: bool = False,
    stream: Any = None,
) -> array:
    """Whether all elements are close, see :func:`isclose`.

    >>> mx.allclose(mx.array([1.0, 2.0]), mx.array([1.0, 2.0]))
    array(True, dtype=bool)
    """
    return _all(isclose(a, b, rtol, atol, equal_nan=equal_nan)._node)


def array_equal(a: Operand, b: Operand, /, *, equal_nan: bool = False, stream: Any = None) -> array:
    """Whether shapes and all elements are equal.

    >>> mx.array_equal(mx.array([1, 2]), mx.array([1.0, 2.0]))
    array(True, dtype=bool)
    """
    x, y = node_of("array_equal", a), node_of("array_equal", b)
    if x.shape != y.shape:
        return wrap(Node(full_like(x, False).primitive, (), (), dt.bool_))
    x, y = [cast(v, dt.promote(x.dtype, y.dtype)) for v in (x, y)]
    same = Equal()(x, y)
    if flag("array_equal", "equal_nan", equal_nan):
        same = BitwiseOr()(same, BitwiseAnd()(NotEqual()(x, x), NotEqual()(y, y)))
    return _all(same)


_SELECT = Select()


def where(condition: Operand, x: Operand, y: Operand, /, *, stream: Any = None) -> array:
    """x where the condition is nonzero, else y; all three are broadcast together.

    >>> mx.where(mx.array([True, False]), mx.array([1, 2]), 0)
    array([1, 0], dtype=int32)
    """
    if type(condition) is array and type(x) is array and type(y) is array:
        test, a, b = condition._node, x._node, y._node
        shape, dtype = a.shape, a.dtype
        if test.dtype is dt.bool_ and dtype is b.dtype and test.shape == shape == b.shape:
            return wrap(Node(_SELECT, (test, a, b), shape, dtype))
    elif (inputs := chosen_beside(condition, x, y)) is not None:
        return wrap(Node(_SELECT, inputs, inputs[1].shape, inputs[1].dtype))
    values = operands("where", x, y)
    test = node_of("where", condition)
    dtype = promoted(values)
    shape = broadcast_shape(test.shape, *[v.shape for v in values if isinstance(v, Node)])
    nodes = (fitted(test, shape, dt.bool_), *[fitted(v, shape, dtype) for v in values])
    return wrap(Node(_SELECT, nodes, shape, dtype))


def nan_to_num(
    a: Operand,
    /,
    nan: float = 0,
    posinf: float | None = None,
    neginf: float | None = None,
    *,
    stream: Any = None,
) -> array:
    """NaN and infinities replaced; by default by 0 and the largest finite numbers.

    >>> mx.nan_to_num(mx.array([float("nan"), 1.0]))
    array([0, 1], dtype=float32)
    """
    x = node_of("nan_to_num", a)
    if x.dtype.is_complex:
        raise ValueError("[nan_to_num] Not supported for complex64.")
    if not x.dtype.is_float:
        return wrap(x)
    by = number("nan_to_num", "nan", nan)
    high = LARGEST[x.dtype] if posinf is None else number("nan_to_num", "posinf", posinf)
    low = -LARGEST[x.dtype] if neginf is None else number("nan_to_num", "neginf", neginf)
    out = Select()(NotEqual()(x, x), full_like(x, by), x)
    out = Select()(Equal()(x, full_like(x, float("inf"))), full_like(x, high), out)
    return wrap(Select()(Equal()(x, full_like(x, float("-inf"))), full_like(x, low), out))
