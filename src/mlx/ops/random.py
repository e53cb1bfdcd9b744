"""Random numbers from splittable keys: the same key always gives the same numbers.

A function without ``key`` draws one from the global ``state``, a list that holds one key.
Raises ValueError for negative sizes, for dtypes it cannot make and for malformed keys.

>>> import mlx.core as mx
"""

from __future__ import annotations

import functools
import math
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from mlx.array import array, wrap
from mlx.array.values import raw_node
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.locks import lock
from mlx.graph.chains import by_types
from mlx.graph.node import Node, Shape
from mlx.ops.operands import (
    Operand,
    array_node,
    broadcast_shape,
    can_broadcast,
    dtype_of,
    fitted,
    integer,
    node_of,
    operand,
    scalar_node,
    shape_of,
)
from mlx.ops.shape import narrow
from mlx.primitives.arithmetic import Absolute, Floor, Maximum, Minimum, Sign
from mlx.primitives.base import full_like, iota
from mlx.primitives.complex import Complex
from mlx.primitives.elementwise import Add, Equal, cast, where
from mlx.primitives.random import Threefry
from mlx.primitives.transcendental import Erf, ErfInv, Log, Log1p
from mlx.primitives.views import Concatenate, reshape

Sizes = int | Sequence[int]
_lock = lock()
_BELOW_ONE = {d: 1 - 2.0 ** -(bits + 1) for d, bits in dt.FRACTION_BITS.items()}
_ABOVE_MINUS_ONE = -_BELOW_ONE[dt.float32]
_ROOT_2 = math.sqrt(2)


def key(seed: int) -> array:
    """The key of a seed, a non-negative integer below 2^64.

    >>> mx.random.key(7)
    array([0, 7], dtype=uint32)
    """
    value = integer("random.key", "seed", seed)
    if not 0 <= value < 2**64:
        raise TypeError(f"[random.key] The seed must be in [0, 2^64), got {value}.")
    halves = struct.pack("=2I", value >> 32, value & 0xFFFFFFFF)
    return wrap(raw_node(halves, (2,), dt.uint32))


state: list[array] = [key(time.time_ns() & (2**64 - 1))]


def seed(seed: int) -> None:
    """Start the global sequence of keys anew.

    >>> mx.random.seed(7)
    >>> mx.random.uniform()
    array(0.0718432, dtype=float32)
    """
    state[0] = key(seed)


def split(key: array, num: int = 2, stream: Any = None) -> array:
    """``num`` new keys from one, as the rows of an array.

    >>> mx.random.split(mx.random.key(0)).shape
    (2, 2)
    """
    count = shape_of("random.split", (num,))[0]
    return wrap(random_bits(key_node(key), (count, 2)))


def key_node(key: array | None) -> Node:
    """The node of a key, or of the next one of the global sequence."""
    if key is None:
        with _lock:
            pair = random_bits(key_node(state[0]), (2, 2))
            state[0] = wrap(_row(pair, 0))
        return _row(pair, 1)
    node = array_node("random", key)
    if node.dtype is not dt.uint32 or node.shape != (2,):
        raise ValueError(
            "[random] A key is an array of 2 uint32 made by mx.random.key, got "
            f"{node.dtype.name} of shape {node.shape}."
        )
    return node


@by_types(1)
def _row(pair: Node, index: int) -> Node:
    return reshape(narrow(pair, 0, index, index + 1), (2,))


def _bits(shape: Shape, key: Node, of: Callable[[Node], Node]) -> Node:
    """An elementwise function of random uint32 words.

    Counter i goes with counter i + half, and each pair of words fills i and i + half; the
    last one of an odd number of words goes with counter 0.  The function is applied to the
    halves, so that their join is its result.
    """
    count = math.prod(shape)
    half = (count + 1) // 2
    line = iota((half,), 0, dt.uint32)
    partner = Add()(line, scalar_node((half,), dt.uint32, half & 0xFFFFFFFF))
    if count % 2:
        last = Equal()(line, scalar_node((half,), dt.uint32, (half - 1) & 0xFFFFFFFF))
        partner = where(last, 0, partner)
    keys = [fitted(narrow(key, 0, i, i + 1), (half,), dt.uint32) for i in (0, 1)]
    first = of(Threefry(0)(*keys, line, partner))
    if count < 2:
        return reshape(narrow(first, 0, 0, count), shape)
    second = of(Threefry(1)(*keys, line, partner))
    return reshape(Concatenate(0)(first, narrow(second, 0, 0, count - half)), shape)


@by_types(1)
def random_bits(key: Node, shape: Shape) -> Node:
    """Random uint32 words."""
    return _bits(shape, key, _itself)


def _unit(shape: Shape, key: Node, dtype: Dtype, of: Callable[[Node], Node]) -> Node:
    """A function of uniform numbers in [0, 1) of a real dtype."""

    def scaled(bits: Node) -> Node:
        unit = cast(bits, dt.float32) * 2.0**-32
        below = full_like(unit, _BELOW_ONE[dt.float32 if dtype.size > 4 else dtype])
        return of(cast(Minimum()(unit, below), dtype))

    return _bits(shape, key, scaled)


def _symmetric(shape: Shape, key: Node, of: Callable[[Node], Node]) -> Node:
    """A function of uniform float32 in (-1, 1)."""
    return _unit(shape, key, dt.float32, lambda u: of(u * 2.0 + _ABOVE_MINUS_ONE))


def _real_dtype(name: str, dtype: Dtype | None) -> Dtype:
    dtype = dt.float32 if dtype is None else dtype_of(name, dtype)
    if not dtype.is_float:
        raise ValueError(f"[{name}] Can only make real floating-point numbers, not {dtype.name}.")
    return dtype


def _sizes(name: str, shape: Sizes | None, *bounds: Node | Any) -> Shape:
    """The shape to draw, to which bounds must broadcast."""
    sizes = shape_of(name, () if shape is None else shape)
    given = [b.shape for b in bounds if isinstance(b, Node)]
    if given and not can_broadcast(least := broadcast_shape(*given), sizes):
        raise ValueError(f"[{name}] Bounds of shape {least} do not broadcast to {sizes}.")
    return sizes


def uniform(
    low: Operand = 0,
    high: Operand = 1,
    shape: Sizes = (),
    dtype: Dtype | None = dt.float32,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """Uniform numbers in [low, high); the bounds broadcast to ``shape``.

    >>> mx.random.uniform(key=mx.random.key(7))
    array(0.844107, dtype=float32)
    """
    kind = _real_dtype("random.uniform", dtype)
    bounds = [operand("random.uniform", b) for b in (low, high)]
    sizes = _sizes("random.uniform", shape, *bounds)
    return wrap(uniform_node(bounds, sizes, kind, key_node(key)))


def _itself(u: Node) -> Node:
    return u


def uniform_node(
    bounds: Sequence[Any],
    shape: Shape,
    dtype: Dtype,
    key: Node,
    of: Callable[[Node], Node] = _itself,
) -> Node:
    """A function of uniform numbers between two bounds."""
    if not any(isinstance(b, Node) for b in bounds):
        return _between(key, shape, dtype, *bounds, of)
    low_node, high_node = (fitted(b, shape, dtype) for b in bounds)
    return of(_spread(key, low_node, high_node))


@by_types(3)
def _spread(key: Node, low: Node, high: Node) -> Node:
    """Uniform numbers between two nodes of the shape to draw."""
    return _unit(low.shape, key, low.dtype, _itself) * (high - low) + low


@by_types(1)
def _between(
    key: Node, shape: Shape, dtype: Dtype, least: Any, most: Any, of: Callable[[Node], Node]
) -> Node:
    """A function of uniform numbers between two Python numbers."""
    low, high = (dt.rounded(b, dtype) for b in (least, most))
    width = dt.rounded(high - low, dtype)
    if width == 1 and low == 0:
        return _unit(shape, key, dtype, of)
    return _unit(shape, key, dtype, lambda u: of(u * width + low))


@functools.cache
def _floor_to(dtype: Dtype) -> Callable[[Node], Node]:
    """One function a dtype, so that what it is applied to is remembered."""
    return lambda u: cast(Floor()(u), dtype)


def randint(
    low: Operand,
    high: Operand,
    shape: Sizes = (),
    dtype: Dtype | None = dt.int32,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """Uniform integers in [low, high), ``low`` if none is; the bounds broadcast to ``shape``.

    >>> mx.random.randint(0, 10, (3,), key=mx.random.key(7))
    array([2, 4, 4], dtype=int32)
    """
    kind = dt.int32 if dtype is None else dtype_of("random.randint", dtype)
    if kind.is_inexact:
        raise ValueError(f"[random.randint] Needs an integer dtype or bool, got {kind.name}.")
    bounds = [operand("random.randint", b) for b in (low, high)]
    sizes = _sizes("random.randint", shape, *bounds)
    source = key_node(key)
    if type(bounds[0]) is type(bounds[1]) is int and bounds[0] < bounds[1]:
        return wrap(uniform_node(bounds, sizes, dt.float32, source, _floor_to(kind)))
    least, most = (fitted(b, sizes, dt.float32) for b in bounds)
    drawn = uniform_node([least, most], sizes, dt.float32, source)
    return wrap(_floor_to(kind)(Maximum()(Minimum()(drawn, most - 1.0), least)))


def bernoulli(
    p: Operand = 0.5,
    shape: Sizes | None = None,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """True with probability p, which broadcasts to ``shape`` (by default its own).

    >>> mx.random.bernoulli(0.5, (4,), key=mx.random.key(7))
    array([True, True, True, True], dtype=bool)
    """
    node = node_of("random.bernoulli", p)
    if not node.dtype.is_float:
        raise ValueError(f"[random.bernoulli] p must be a float, got {node.dtype.name}.")
    sizes = node.shape if shape is None else _sizes("random.bernoulli", shape, node)
    wide = dt.promote(node.dtype, dt.float32)
    if node.size == 1:
        return wrap(_below(key_node(key), reshape(node, ()), sizes, wide))
    unit = _unit(sizes, key_node(key), dt.float32, _itself)
    return wrap(cast(unit, wide) < fitted(node, sizes, wide))


@by_types(2)
def _below(key: Node, bound: Node, shape: Shape, dtype: Dtype) -> Node:
    """Whether uniform numbers are less than one bound."""
    return _unit(shape, key, dt.float32, lambda u: cast(u, dtype) < fitted(bound, u.shape, dtype))


def normal(
    shape: Sizes = (),
    dtype: Dtype | None = dt.float32,
    loc: Operand | None = None,
    scale: Operand | None = None,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """Normally distributed numbers with mean ``loc`` and standard deviation ``scale``.

    Complex numbers have independent parts of variance 1/2.

    >>> mx.random.normal((2,), key=mx.random.key(7)).shape
    (2,)
    """
    kind = dt.float32 if dtype is None else dtype_of("random.normal", dtype)
    if not kind.is_inexact:
        raise ValueError(f"[random.normal] Needs a floating-point dtype, got {kind.name}.")
    bounds = [None if b is None else operand("random.normal", b) for b in (loc, scale)]
    sizes = _sizes("random.normal", shape, *bounds)
    out = normal_node(sizes, kind, key_node(key), bounds[1])
    return wrap(out if bounds[0] is None else out + fitted(bounds[0], sizes, kind))


def normal_node(shape: Shape, dtype: Dtype, key: Node, scale: Any = None) -> Node:
    """Normal numbers times ``scale``, a number or a node."""
    if dtype.is_complex:
        parts = _symmetric((*shape, 2), key, lambda u: ErfInv()(u))
        re, im = (reshape(narrow(parts, len(shape), i, i + 1), shape) for i in (0, 1))
        out = Complex()(re, im)
        return out if scale is None else out * fitted(scale, shape, dtype)
    if isinstance(scale, Node):
        out = _symmetric(shape, key, lambda u: cast(ErfInv()(u), dtype))
        return out * (fitted(scale, shape, dtype) * _ROOT_2)
    factor = dt.rounded(1 if scale is None else scale, dtype)
    width = dt.rounded(dt.rounded(_ROOT_2, dtype) * factor, dtype)
    return _normal(key, shape, dtype, width or 0.0)


@by_types(1)
def _normal(key: Node, shape: Shape, dtype: Dtype, width: float) -> Node:
    return _symmetric(shape, key, lambda u: cast(ErfInv()(u), dtype) * width)


def truncated_normal(
    lower: Operand,
    upper: Operand,
    shape: Sizes | None = None,
    dtype: Dtype | None = dt.float32,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """Normal numbers given that they lie in (lower, upper); the bounds broadcast to ``shape``.

    >>> bool(mx.all(mx.abs(mx.random.truncated_normal(-1, 1, (100,))) <= 1))
    True
    """
    name = "random.truncated_normal"
    kind = _real_dtype(name, dtype)
    bounds = [operand(name, b) for b in (lower, upper)]
    least = broadcast_shape(*(b.shape for b in bounds if isinstance(b, Node)))
    sizes = least if shape is None else _sizes(name, shape, *bounds)
    low, high = (fitted(b, sizes, kind) for b in bounds)
    return wrap(_truncated(key_node(key), low, high))


@by_types(3)
def _truncated(key: Node, low: Node, high: Node) -> Node:
    ends = [Erf()(b * (1 / _ROOT_2)) for b in (low, high)]
    unit = _unit(low.shape, key, low.dtype, _itself)
    out = ErfInv()(ends[0] + unit * (ends[1] - ends[0])) * _ROOT_2
    return Minimum()(Maximum()(out, low), high)


def gumbel(
    shape: Sizes = (),
    dtype: Dtype | None = dt.float32,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """Numbers of the standard Gumbel distribution.

    >>> mx.random.gumbel((2, 3)).shape
    (2, 3)
    """
    kind = _real_dtype("random.gumbel", dtype)
    return wrap(gumbel_node(key_node(key), shape_of("random.gumbel", shape), kind))


@by_types(1)
def gumbel_node(key: Node, shape: Shape, dtype: Dtype) -> Node:
    return _unit(shape, key, dt.float32, lambda u: cast(-Log()(-Log()(u)), dtype))


def laplace(
    shape: Sizes = (),
    dtype: Dtype | None = dt.float32,
    loc: float = 0.0,
    scale: float = 1.0,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """Numbers of the Laplace distribution with mean ``loc`` and diversity ``scale``.

    >>> mx.random.laplace((2, 3)).shape
    (2, 3)
    """
    kind = _real_dtype("random.laplace", dtype)

    def transformed(u: Node) -> Node:
        out = cast(Sign()(u) * Log1p()(-Absolute()(u)), kind)
        return out * float(scale) + float(loc)

    sizes = shape_of("random.laplace", shape)
    return wrap(_symmetric(sizes, key_node(key), transformed))
