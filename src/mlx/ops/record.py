"""Recording elementwise operations: one function each, tight because everything calls them.

``binary(name, primitive, rule)`` makes the function that records one.  The rule says, for
the promoted dtype of the operands, in which dtype it is carried out (None: not at all).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype, at_least_float
from mlx.base.errors import DtypeError
from mlx.graph.node import Node, Shape, next_serial
from mlx.ops.operands import broadcast_shape, constant, fitted, node_of, operands, promoted
from mlx.primitives.elementwise import Elementwise, cast
from mlx.primitives.reductions import Broadcast

Rule = Callable[[Dtype], Dtype | None]
new, new_node = array.__new__, Node.__new__
_NUMBERS = frozenset({int, float})
_SMALL = range(128)
"""Integers that every integer dtype holds."""


def any_dtype(d: Dtype) -> Dtype:
    return d


def inexact(d: Dtype) -> Dtype:
    return at_least_float(d)


def real(d: Dtype) -> Dtype | None:
    return None if d.is_complex else d


def real_inexact(d: Dtype) -> Dtype | None:
    return None if d.is_complex else at_least_float(d)


def bits(d: Dtype) -> Dtype | None:
    return None if d.is_inexact else d


def integers(d: Dtype) -> Dtype | None:
    if d is dt.bool_:
        return dt.uint8
    return d if d.is_integer else None


def truth(d: Dtype) -> Dtype:
    return dt.bool_


def _tables(primitive: Elementwise, rule: Rule) -> tuple[list[Any], list[Any]]:
    """By the promoted dtype: the dtype to compute in, and the result's where nothing is cast."""
    compute = [rule(d) for d in dt.ALL]
    direct = [primitive.result(d) if c is d else None for d, c in zip(dt.ALL, compute, strict=True)]
    return compute, direct


def _unsupported(name: str, dtype: Dtype, compute: list[Any]) -> DtypeError:
    known = ", ".join(d.name for d, c in zip(dt.ALL, compute, strict=True) if c is not None)
    return DtypeError(f"[{name}] Not supported for {dtype.name}, only for {known}.")


def unary(name: str, primitive: Elementwise, rule: Rule) -> Callable[[Any], array]:
    """A function that records ``primitive`` of one operand."""
    compute, direct = _tables(primitive, rule)

    def record(a: Any) -> array:
        x = a._node if type(a) is array else node_of(name, a)
        result = direct[x.dtype.index]
        if result is None:
            dtype = compute[x.dtype.index]
            if dtype is None:
                raise _unsupported(name, x.dtype, compute)
            x = cast(x, dtype)
            result = primitive.result(dtype)
        out, node = new(array), new_node(Node)  # Node(...), in less time
        node.primitive, node.inputs, node.shape, node.dtype = primitive, (x,), x.shape, result
        node.data, node.serial = None, next_serial()
        out._node = node
        return out

    return record


@lru_cache(4096)
def _meeting(a: Shape, b: Shape) -> tuple[Shape, Broadcast | None, Broadcast | None]:
    """The common shape of two, and what makes it of each (None where it has it)."""
    shape = broadcast_shape(a, b)
    first, second = (
        None if s == shape else Broadcast(shape, tuple(range(len(shape) - len(s), len(shape))))
        for s in (a, b)
    )
    return shape, first, second


def _beside(value: Any, node: Node) -> Node | None:
    """A Python number as a node of another's type; None where that takes more thought."""
    dtype = node.dtype
    if dtype.is_inexact:
        if type(value) in _NUMBERS:
            return Node(constant(float(value)), (), node.shape, dtype)
    elif type(value) is int and value in _SMALL and dtype.is_integer:
        return Node(constant(value), (), node.shape, dtype)
    return None


def binary(name: str, primitive: Elementwise, rule: Rule) -> Callable[[Any, Any], array]:
    """A function that records ``primitive`` of two operands, promoted and broadcast."""
    compute, direct = _tables(primitive, rule)

    def record(a: Any, b: Any) -> array:
        x: Node | None
        if type(a) is array:
            x = a._node
            y = b._node if type(b) is array else _beside(b, x)
        elif type(b) is array:
            y = b._node
            x = _beside(a, y)
        else:
            return general(a, b)
        if x is None or y is None:
            return general(a, b)
        dtype, shape = x.dtype, x.shape
        result = direct[dtype.index]
        if y.dtype is not dtype or result is None:
            return general(a, b)
        if y.shape != shape:
            shape, first, second = _meeting(shape, y.shape)
            x = x if first is None else Node(first, (x,), shape, dtype)
            y = y if second is None else Node(second, (y,), shape, dtype)
        out, node = new(array), new_node(Node)
        node.primitive, node.inputs, node.shape, node.dtype = primitive, (x, y), shape, result
        node.data, node.serial = None, next_serial()
        out._node = node
        return out

    def general(a: Any, b: Any) -> array:
        values = operands(name, a, b)
        dtype = promoted(values)
        computed = compute[dtype.index]
        if computed is None:
            raise _unsupported(name, dtype, compute)
        shape = broadcast_shape(*(v.shape for v in values if isinstance(v, Node)))
        inputs = tuple([fitted(v, shape, computed) for v in values])
        return wrap(Node(primitive, inputs, shape, primitive.result(computed)))

    return record


def chosen_beside(condition: Any, x: Any, y: Any) -> tuple[Node, Node, Node] | None:
    """The operands of a choice between an array and a Python number of its kind, all of one
    shape; None for all others."""
    if type(condition) is not array or (type(x) is array) is (type(y) is array):
        return None
    test, like = condition._node, (x if type(x) is array else y)._node
    if test.dtype is not dt.bool_ or test.shape != like.shape:
        return None
    other = _beside(y if type(x) is array else x, like)
    if other is None:
        return None
    return (test, like, other) if type(x) is array else (test, other, like)
