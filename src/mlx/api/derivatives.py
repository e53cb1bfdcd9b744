"""grad, value_and_grad, vjp and jvp."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from mlx.api.operands import (
    array_leaves,
    check_callable,
    fresh,
    handles,
    list_of_arrays,
    match,
    or_zeros,
    output_arrays,
)
from mlx.array import array
from mlx.base import tree
from mlx.graph.node import Node
from mlx.graph.trace import Trace, alone
from mlx.primitives.base import Full
from mlx.transforms import derivatives

_ONE = Full(1)
P = ParamSpec("P")
R = TypeVar("R")


def value_and_grad(
    fun: Callable[P, R],
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] = [],  # noqa: B006 (MLX's signature)
) -> Callable[P, tuple[R, Any]]:
    """A function that computes what ``fun`` returns and the gradient of its loss.

    Args:
        fun: returns a scalar array, or a tuple that starts with one; the rest of the tuple
            can be anything.
        argnums: position, or positions, of the arguments to differentiate.  Each is an array
            or a tree (lists, tuples, dictionaries, modules) of arrays.  The first argument
            unless ``argnames`` is given.
        argnames: name, or names, of keyword arguments to differentiate.

    Returns:
        A function that takes the arguments of ``fun`` and returns ``(value, gradient)``.  The
        gradient has the structure, shapes and dtypes of the argument; for several positions
        it is a tuple in the order of the arguments; with ``argnames`` it is a pair (as above or
        None, dictionary by name).
        What the loss does not depend on has a gradient of zeros.  Derivatives pass integers
        and casts to them, rounded to their dtype; no derivative passes comparisons, rounding
        functions, positions (``argmax``) and bits.

    Raises:
        ValueError: a position or name that the call does not have, an argument that is no
            tree of arrays, a loss that is no scalar.

    >>> import mlx.core as mx
    >>> value, gradient = mx.value_and_grad(lambda x: (x * x).sum())(mx.array([1.0, 2.0]))
    >>> value.item(), gradient.tolist()
    (5.0, [2.0, 4.0])
    """
    return _gradient_function("value_and_grad", fun, argnums, argnames)


def grad(
    fun: Callable[P, Any],
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] = [],  # noqa: B006 (MLX's signature)
) -> Callable[P, Any]:
    """A function that computes the gradient of ``fun``, which returns a scalar array.

    Arguments, result and errors are those of :func:`value_and_grad`, without the value.

    >>> import mlx.core as mx
    >>> mx.grad(mx.grad(lambda x: x * x * x))(mx.array(2.0)).item()
    12.0
    """
    both = _gradient_function("grad", fun, argnums, argnames)

    @functools.wraps(fun, updated=())
    def gradient(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return gradient


def _gradient_function(
    name: str, fun: Callable[..., Any], argnums: Any, argnames: Any
) -> Callable[..., tuple[Any, Any]]:
    check_callable(name, fun)
    names = _names(name, argnames)
    positions, single = _positions(name, argnums, names)

    @functools.wraps(fun, updated=())
    def value_and_gradient(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        _check_call(name, positions, names, args, kwargs)
        arrays: list[array] = []
        for i in positions:
            arrays += array_leaves(name, f"Argument {i}", args[i])
        for n in names:
            arrays += array_leaves(name, f"Keyword argument {n!r}", kwargs[n])
        if not arrays:
            raise ValueError(f"[{name}] The arguments to differentiate contain no arrays.")
        with Trace(name, takes_wholes=True) as trace:
            inputs = [fresh(a) for a in arrays]
            values = iter(handles(inputs))
            call = list(args)
            for i in positions:
                call[i] = tree.rebuild(args[i], values)
            if names:
                kwargs = kwargs | {n: tree.rebuild(kwargs[n], values) for n in names}
            result = fun(*call, **kwargs)
            loss = _loss(name, result)
            one = Node(_ONE, (), loss.shape, loss.dtype)
            trace.takes_wholes = False
            found = derivatives.vjp([loss], inputs, [one], trace.start, alone())
        gradients = iter(handles(or_zeros(found, inputs)))
        by_position = [tree.fill(args[i], gradients) for i in positions]
        first: Any = by_position[0] if single and positions else tuple(by_position) or None
        if not names:
            return result, first
        return result, (first, {n: tree.fill(kwargs[n], gradients) for n in names})

    return value_and_gradient


def _names(name: str, argnames: Any) -> list[str]:
    names = [argnames] if isinstance(argnames, str) else argnames
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
        raise TypeError(
            f"[{name}] argnames must be a string or a sequence of strings, not {argnames!r}."
        )
    return list(dict.fromkeys(names))


def _positions(name: str, argnums: Any, names: list[str]) -> tuple[list[int], bool]:
    """The positions to differentiate, and whether the result is a gradient, not a tuple."""
    if argnums is None:
        return ([] if names else [0]), True
    single = _is_int(argnums)
    positions = [argnums] if single else argnums
    if not isinstance(positions, (list, tuple)) or not all(_is_int(p) for p in positions):
        raise TypeError(
            f"[{name}] argnums must be an integer or a sequence of integers, not {argnums!r}."
        )
    if not positions and not names:
        raise ValueError(f"[{name}] Gradient wrt no argument requested: argnums is {argnums!r}.")
    for i in positions:
        if i < 0:
            raise ValueError(f"[{name}] Can't compute the gradient of negative argument index {i}.")
        if positions.count(i) > 1:
            raise ValueError(f"[{name}] Duplicate argument index {i} is not allowed.")
    return sorted(positions), single or len(positions) == 1


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_call(
    name: str, positions: list[int], names: list[str], args: tuple, kwargs: dict[str, Any]
) -> None:
    for i in positions:
        if i >= len(args):
            raise ValueError(
                f"[{name}] Can't compute the gradient of argument index {i} because the "
                f"function is called with only {len(args)} positional arguments."
            )
    for n in names:
        if n not in kwargs:
            given = ", ".join(kwargs) or "none"
            raise ValueError(
                f"[{name}] Can't compute the gradient of keyword argument {n!r} because the "
                f"function is called with the following keyword arguments: {given}."
            )


def _loss(name: str, result: Any) -> Node:
    """The node of the scalar that a function returned."""
    value, extra = result, ""
    if name == "value_and_grad":
        extra = " or a tuple that starts with one"
        if isinstance(result, tuple) and result:
            value = result[0]
    wrong = (
        f"[{name}] The return value of the function whose gradient we want to compute should "
        f"be a scalar array{extra}; but "
    )
    if not isinstance(value, array):
        where = "a tuple that starts with " if value is not result else ""
        empty = "an empty tuple" if result == () else type(value).__name__
        raise ValueError(f"{wrong}{where}{empty} was returned.")
    if value.shape != ():
        raise ValueError(
            f"{wrong}an array of shape {value.shape} was returned. Reduce it to a scalar, "
            "for example with .sum() or .mean()."
        )
    return value._node


def vjp(
    fun: Callable[..., Any], primals: list[array], cotangents: list[array]
) -> tuple[list[array], list[array]]:
    """The vector-Jacobian product of ``fun`` at ``primals``.

    Args:
        fun: takes the primals and returns an array or a list of arrays.
        primals: the point at which the Jacobian is taken.
        cotangents: the vectors, one an output, of the outputs' shapes.

    Returns:
        The outputs of ``fun``, and the products: one a primal, of its shape and dtype.

    Raises:
        ValueError: the numbers or shapes of outputs and cotangents differ.
        TypeError: primals or cotangents are no lists of arrays.

    >>> import mlx.core as mx
    >>> outputs, products = mx.vjp(mx.sin, [mx.array(0.0)], [mx.array(3.0)])
    >>> outputs[0].item(), products[0].item()
    (0.0, 3.0)
    """
    check_callable("vjp", fun)
    primals = list_of_arrays("vjp", "primals", primals)
    cotangents = list_of_arrays("vjp", "cotangents", cotangents)
    with Trace("vjp") as trace:
        inputs = [fresh(p) for p in primals]
        outputs = output_arrays("vjp", fun, fun(*handles(inputs)))
        nodes = [o._node for o in outputs]
        if len(nodes) != len(cotangents):
            raise ValueError(
                f"[vjp] Number of outputs to compute gradients for ({len(nodes)}) does not "
                f"match number of cotangents ({len(cotangents)})."
            )
        seeds = [
            match("vjp", "cotangent", c, n, i)
            for i, (c, n) in enumerate(zip(cotangents, nodes, strict=True))
        ]
        found = derivatives.vjp(nodes, inputs, seeds, trace.start, alone())
    return outputs, handles(or_zeros(found, inputs))


def jvp(
    fun: Callable[..., Any], primals: list[array], tangents: list[array]
) -> tuple[list[array], list[array]]:
    """The Jacobian-vector product of ``fun`` at ``primals``.

    Args:
        fun: takes the primals and returns an array or a list of arrays.
        primals: the point at which the Jacobian is taken.
        tangents: the vectors, one a primal, of the primals' shapes.

    Returns:
        The outputs of ``fun``, and the products: one an output, of its shape and dtype.

    Raises:
        ValueError: the numbers or shapes of primals and tangents differ.
        TypeError: primals or tangents are no lists of arrays.

    >>> import mlx.core as mx
    >>> outputs, products = mx.jvp(lambda x: x * x, [mx.array(3.0)], [mx.array(1.0)])
    >>> products[0].item()
    6.0
    """
    check_callable("jvp", fun)
    primals = list_of_arrays("jvp", "primals", primals)
    tangents = list_of_arrays("jvp", "tangents", tangents)
    if len(primals) != len(tangents):
        raise ValueError(
            f"[jvp] Number of inputs ({len(primals)}) does not match number of tangents "
            f"({len(tangents)})."
        )
    with Trace("jvp") as trace:
        inputs = [fresh(p) for p in primals]
        seeds = [
            match("jvp", "tangent", t, x, i)
            for i, (t, x) in enumerate(zip(tangents, inputs, strict=True))
        ]
        outputs = output_arrays("jvp", fun, fun(*handles(inputs)))
        nodes = [o._node for o in outputs]
        found = derivatives.jvp(nodes, inputs, seeds, trace.start, alone())
    return outputs, handles(or_zeros(found, nodes))
