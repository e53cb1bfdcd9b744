"""vmap: a function of one example applied to a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from mlx.api.operands import check_callable, handles
from mlx.array import array, wrap
from mlx.base import tree
from mlx.graph.node import Node
from mlx.graph.trace import Trace, alone, placeholder
from mlx.primitives.reductions import broadcast_axes
from mlx.primitives.views import moveaxis
from mlx.transforms.replay import batch

P = ParamSpec("P")
R = TypeVar("R")


def vmap(fun: Callable[P, R], in_axes: Any = 0, out_axes: Any = 0) -> Callable[P, R]:
    """A function that maps ``fun`` over an axis of its arguments, in one go.

    Args:
        fun: takes and returns arrays or trees of arrays.
        in_axes: the axis of each argument to map over; None for one that all share.  An
            integer for all arguments, or a tuple of one entry an argument, which may be a
            tree that starts like the argument.
        out_axes: where the axis goes in the results, in the same manner.

    Raises:
        TypeError: ``fun`` is no function, or the call has keyword arguments.
        ValueError: sizes of mapped axes differ, nothing is mapped, axes are no integers or
            don't fit the arguments, a mapped argument or a result is no array.
        IndexError: an array has no such axis.

    >>> import mlx.core as mx
    >>> dot = lambda a, b: (a * b).sum()
    >>> mx.vmap(dot, in_axes=(0, None))(mx.ones((2, 3)), mx.array([1.0, 2.0, 3.0])).tolist()
    [6.0, 6.0]
    """
    check_callable("vmap", fun)
    _check_axes("in_axes", in_axes)
    _check_axes("out_axes", out_axes)

    @functools.wraps(fun, updated=())
    def mapped(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            raise TypeError("[vmap] Keyword arguments are not supported: pass them by position.")
        values, axes = tree.leaves(args), _axes_of("in_axes", in_axes, args)
        chosen = [_mappable(v, a) for v, a in zip(values, axes, strict=True) if a is not None]
        size = _batch_size(chosen)
        with Trace("vmap") as trace:
            inputs = [_element(trace, node, axis) for node, axis in chosen]
            elements = iter(handles(inputs))
            pairs = zip(values, axes, strict=True)
            call = tree.rebuild(args, (v if a is None else next(elements) for v, a in pairs))
            result = fun(*call, **kwargs)
            nodes = [_result(leaf) for leaf in tree.leaves(result)]
            stacked = [moveaxis(node, axis, 0) for node, axis in chosen]
            found = batch(nodes, inputs, stacked, size, trace.start, alone())
        places = _axes_of("out_axes", out_axes, result)
        outputs = [
            wrap(_placed(node, whole, axis, size))
            for node, whole, axis in zip(nodes, found, places, strict=True)
        ]
        return tree.rebuild(result, iter(outputs))

    return mapped


def _check_axes(name: str, axes: Any) -> None:
    for axis in tree.leaves(axes):
        if axis is not None and (isinstance(axis, bool) or not isinstance(axis, int)):
            raise ValueError(f"[vmap] {name} must be integers or None, but contains {axis!r}.")


def _axes_of(name: str, axes: Any, value: Any) -> list[int | None]:
    """An axis or None for each leaf of the arguments or the result."""
    if type(axes) is int:
        return [axes] * len(tree.leaves(value))
    if isinstance(axes, list) and isinstance(value, tuple):
        axes = tuple(axes)
    try:
        return tree.spread(axes, value)
    except ValueError as error:
        alone = _alone(name, axes, value)
        if alone is not None:
            return alone
        of = "arguments" if name == "in_axes" else "result"
        raise ValueError(f"[vmap] {name} must start like the {of}: {error}.") from None


def _alone(name: str, axes: Any, value: Any) -> list[int | None] | None:
    """Axes given without the tuple around a single argument, or with one around a result."""
    try:
        if name == "in_axes" and len(value) == 1:
            return tree.spread(axes, value[0])
        if name == "out_axes" and isinstance(axes, tuple) and len(axes) == 1:
            return tree.spread(axes[0], value)
    except ValueError:
        pass
    return None


def _mappable(value: Any, axis: int) -> tuple[Node, int]:
    """The node of an argument and its axis, counted from the front."""
    if not isinstance(value, array):
        raise ValueError(
            f"[vmap] Arguments to map over must be arrays, but received "
            f"{type(value).__name__} ({value!r:.60}); give it the axis None in in_axes."
        )
    ndim = len(value.shape)
    if not -ndim <= axis < ndim:
        raise IndexError(
            f"[vmap] Invalid vectorization axis {axis} for array with shape {value.shape}."
        )
    return value._node, axis % ndim


def _batch_size(chosen: Sequence[tuple[Node, int]]) -> int:
    if not chosen:
        raise ValueError("[vmap] At least one of in_axes must be non-None.")
    sizes = [node.shape[axis] for node, axis in chosen]
    for size in sizes:
        if size != sizes[0]:
            raise ValueError(f"[vmap] Inconsistent axis sizes: {sizes[0]} and {size}.")
    return sizes[0]


def _element(trace: Trace, node: Node, axis: int) -> Node:
    shape = (*node.shape[:axis], *node.shape[axis + 1 :])
    return placeholder(trace, shape, node.dtype)


def _result(leaf: Any) -> Node:
    if not isinstance(leaf, array):
        raise ValueError(
            f"[vmap] The function must return arrays or trees of arrays, but its result "
            f"contains {type(leaf).__name__} ({leaf!r:.60})."
        )
    return leaf._node


def _placed(node: Node, whole: Node | None, axis: int | None, size: int) -> Node:
    """A result with the mapped axis in its place."""
    if axis is None:
        if whole is not None:
            raise ValueError(
                "[vmap] out_axes is None for a result that differs along the mapped axis."
            )
        return node
    ndim = node.ndim + 1
    if not -ndim <= axis < ndim:
        raise IndexError(
            f"[vmap] Invalid output vectorization axis {axis} for array with shape {node.shape}."
        )
    if whole is None:
        whole = broadcast_axes(node, (size, *node.shape), range(1, ndim))
    return moveaxis(whole, 0, axis % ndim)
