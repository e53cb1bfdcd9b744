"""``a[...]``, ``a[...] = v`` and ``a.at[...]``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlx.array import ArrayAt, array, wrap
from mlx.base import dtype as dt
from mlx.graph.chains import by_shape, by_types, by_types_of_all
from mlx.graph.node import Node, Shape
from mlx.ops.indices import (
    Basic,
    Plain,
    Subscript,
    is_mask,
    mixed_key,
    parts_of,
    plain,
    plain_key,
    reshaped,
    subscript,
    unmixed,
)
from mlx.ops.joining import stack
from mlx.ops.operands import can_broadcast, scalar_node
from mlx.primitives.arithmetic import Maximum, Minimum
from mlx.primitives.base import full
from mlx.primitives.elementwise import (
    Add,
    Divide,
    Elementwise,
    Multiply,
    Negative,
    Select,
    cast,
)
from mlx.primitives.indexing import Gather, Scatter, SliceUpdate
from mlx.primitives.reductions import broadcast, broadcast_axes
from mlx.primitives.scans import CumSum
from mlx.primitives.views import reshape

_BOOLEAN = (
    "[index] boolean indices are not yet supported for reading: the shape of the result would "
    "depend on values. Use mx.where(mask, a, 0), or a[mask] = value to write."
)
_ROWS = Gather((0,))


def getitem(a: array, index: Any) -> array:
    """``a[index]``."""
    x = a._node
    if type(index) is array and index._node.dtype.is_integer and x.shape:
        rows = index._node
        return wrap(Node(_ROWS, (x, rows), (*rows.shape, *x.shape[1:]), x.dtype))
    key = plain_key(index)
    if key is not None and (found := _sliced(x, key)) is not None:
        return wrap(found)
    if (mixed := mixed_key(index)) is not None:
        return wrap(_gathered([x, *mixed[1]], mixed[0]))
    parts = parts_of(index)
    if any(is_mask(part) for part in parts):
        raise ValueError(_BOOLEAN)
    return wrap(_read(x, parts))


@by_types_of_all
def _gathered(nodes: Sequence[Node], key: tuple[Any, ...]) -> Node:
    return _read(nodes[0], unmixed(key, nodes[1:]))


def _read(x: Node, parts: Sequence[Basic | Node]) -> Node:
    sub = subscript(x.shape, parts)
    y = sub.slice_of(x)
    if sub.arrays:
        axes = tuple(sorted(sub.arrays))
        y = Gather(axes, position=sub.position)(y, *sub.indices())
    return reshape(y, sub.result)


def _sliced(x: Node, key: tuple[Any, ...]) -> Node | None:
    try:  # not contextlib.suppress, which takes longer than the rest
        return _cut(x, key)
    except LookupError:
        return None


@by_shape
def _cut(x: Node, key: tuple[Any, ...]) -> Node:
    return _plain(x.shape, key).slice_of(x)


def _plain(shape: Shape, key: tuple[Any, ...]) -> Plain:
    """What a key means for a shape.  Raises LookupError where it is wrong."""
    found = plain(shape, tuple([slice(*part) if type(part) is tuple else part for part in key]))
    if found is None:
        raise LookupError
    return found


# -- writing -------------------------------------------------------------------------------


def _value_for(a: array, value: Any) -> Node:
    """What is written, in the array's dtype."""
    dtype = a.dtype
    if isinstance(value, array):
        return cast(value._node, dtype)
    if value is None:
        raise TypeError("[index] Expected a number or an array to write, got None.")
    if isinstance(value, (bool, int, float)) and (dtype.is_inexact or type(value) is int):
        return scalar_node((), dtype, value)
    return array(value, dtype)._node


def _spread(value: Node, shape: Shape) -> Node:
    """The value broadcast to a shape; leading axes of size one beyond it don't count."""
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = reshape(value, value.shape[1:])
    if not can_broadcast(value.shape, shape):
        raise ValueError(
            f"[index] Cannot broadcast array of shape {value.shape} into shape {shape}."
        )
    return broadcast(value, shape)


def setitem(a: array, index: Any, value: Any) -> None:
    """``a[index] = value``: binds the handle to a new value; nothing else sees it."""
    x, new = a._node, _value_for(a, value)
    key = plain_key(index)
    if key is not None:
        try:
            a._node = _put(x, new, key)
            return
        except LookupError:
            pass
    if (mixed := mixed_key(index)) is not None:
        a._node = _combined([x, new, *mixed[1]], mixed[0], "set", None)
        return
    parts = parts_of(index)
    if any(is_mask(part) for part in parts):
        a._node = _masked(x, parts, new)
        return
    a._node = _updated(x, subscript(x.shape, parts), new, "set", None)


@by_types_of_all
def _combined(
    nodes: Sequence[Node], key: tuple[Any, ...], mode: str, combine: Elementwise | None
) -> Node:
    """An array, the first node, with the second combined into a subscript of the others."""
    x, value, *arrays = nodes
    return _updated(x, subscript(x.shape, unmixed(key, arrays)), value, mode, combine)


@by_types(2)
def _put(x: Node, value: Node, key: tuple[Any, ...]) -> Node:
    found = _plain(x.shape, key)
    return _placed(x, found, _spread(value, found.result))


def _placed(x: Node, where: Plain | Subscript, part: Node) -> Node:
    """The array with another part in place of a slice of it."""
    starts, steps, sizes = tuple(where.starts), tuple(where.steps), tuple(where.sizes)
    if part.shape != sizes:
        part = reshaped(part, sizes)
    if sizes == x.shape and all(s == 1 for s in steps):
        return part
    if part.size == 0:
        return x
    update = SliceUpdate.__new__(SliceUpdate)
    update.__dict__.update(starts=starts, steps=steps)
    return Node(update, (x, part), x.shape, x.dtype)


def _updated(x: Node, sub: Subscript, value: Node, mode: str, combine: Elementwise | None) -> Node:
    """The array with values combined into a subscript: ``mode`` at index arrays, ``combine``
    (None: the value stays) where each element is reached once."""
    value = _spread(value, sub.result)
    inner = sub.slice_of(x)
    if sub.arrays:
        scatter = Scatter(tuple(sorted(sub.arrays)), mode)
        inner = scatter(inner, sub.updates_of(value), *sub.indices())
    else:
        new = reshape(value, sub.kept)
        inner = new if combine is None else combine(inner, new)
    return _placed(x, sub, inner)


def _masked(x: Node, parts: Sequence[Basic | Node], value: Node) -> Node:
    """``x[mask] = value``: one value for all, one along the axes that the mask lacks, or one
    for each True in turn."""
    if len(parts) != 1:
        raise ValueError("[index] A boolean mask must be the only index.")
    (mask,) = parts
    assert isinstance(mask, Node)
    if mask.shape != x.shape[: mask.ndim]:
        raise ValueError(
            f"[index] The boolean mask should have the same shape as the beginning of the "
            f"indexed array but the mask has shape {mask.shape} and the array {x.shape}."
        )
    rest = x.shape[mask.ndim :]
    where = broadcast_axes(mask, x.shape, range(mask.ndim))
    if value.ndim > len(rest) and value.shape[0] != 1:
        value = _in_turn(mask, value, rest)
    elif value.ndim > len(rest):
        value = reshape(value, value.shape[1:])
    return Select()(where, _spread(value, x.shape), x)


def _in_turn(mask: Node, values: Node, rest: Shape) -> Node:
    """The n-th value where the mask has its n-th True.  Too few values raise IndexError when
    evaluated."""
    values = _spread(values, (values.shape[0], *rest))
    flat = cast(reshape(mask, (mask.size,)), dt.int64)
    place = Multiply()(CumSum(0, inclusive=False)(flat), flat)
    return Gather((0,))(values, reshape(place, mask.shape))


# -- a.at[...] -----------------------------------------------------------------------------


def _at(mode: str, combine: Elementwise, what: str) -> Callable[[ArrayAt, Any], array]:
    def method(self: ArrayAt, value: Any) -> array:
        return wrap(_target(self, _value_for(self._array, value), mode, combine))

    method.__doc__ = f"The array with its elements at the indices {what} ``value``."
    return method


def _target(at: ArrayAt, value: Node, mode: str, combine: Elementwise) -> Node:
    """The array with a value combined into the elements at the indices."""
    try:
        index = at._indices
    except AttributeError:
        raise ValueError(
            "[at] Must give indices to array.at (for example x.at[0].add(4))."
        ) from None
    x = at._array._node
    if (mixed := mixed_key(index)) is not None:
        return _combined([x, value, *mixed[1]], mixed[0], mode, combine)
    if (key := plain_key(index)) is not None:
        return _combined([x, value], key, mode, combine)
    parts = parts_of(index)
    if any(is_mask(part) for part in parts):
        raise ValueError("[at] Boolean masks are not supported: use mx.where(mask, f(a), a).")
    return _updated(x, subscript(x.shape, parts), value, mode, combine)


def _subtract(self: ArrayAt, value: Any) -> array:
    """The array with ``value`` subtracted from its elements at the indices."""
    return wrap(_target(self, Negative()(_value_for(self._array, value)), "add", Add()))


def _divide(self: ArrayAt, value: Any) -> array:
    """The array with its elements at the indices divided by ``value`` (integers truncate)."""
    x, divisor = self._array._node, _value_for(self._array, value)
    if x.dtype.is_inexact:
        inverse = Divide()(full(divisor.shape, x.dtype, 1), divisor)
        return wrap(_target(self, inverse, "prod", Multiply()))
    ones = ArrayAt(wrap(full(x.shape, dt.float64, 1)))
    if hasattr(self, "_indices"):
        ones = ones[self._indices]
    all_of = _target(ones, cast(divisor, dt.float64), "prod", Multiply())
    return wrap(cast(Divide()(cast(x, dt.float64), all_of), x.dtype))


def _stacked(values: Sequence[Any]) -> array:
    """A nested list that contains arrays."""
    parts = [array(v) for v in values]
    if any(p.shape != parts[0].shape for p in parts):
        shapes = ", ".join(str(p.shape) for p in parts)
        raise ValueError(f"[array] Initialization encountered non-uniform length: {shapes}.")
    return stack(parts)


def install() -> None:
    """Give ``array`` its methods."""
    for name, method in (("getitem", getitem), ("setitem", setitem)):
        setattr(array, f"__{name}__", method)
    array._stack = staticmethod(_stacked)
    updates = {
        "add": _at("add", Add(), "increased by"),
        "subtract": _subtract,
        "multiply": _at("prod", Multiply(), "multiplied by"),
        "divide": _divide,
        "maximum": _at("max", Maximum(), "replaced by a larger"),
        "minimum": _at("min", Minimum(), "replaced by a smaller"),
    }
    for name, update in updates.items():
        setattr(ArrayAt, name, update)


install()
