"""Between the user's trees of arrays and the transformations' lists of nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlx.array import array, wrap
from mlx.base import tree
from mlx.graph.node import Node
from mlx.primitives.base import zeros_like
from mlx.primitives.custom import Identity
from mlx.primitives.elementwise import cast

_IDENTITY = Identity()
_ARRAYS = frozenset({array})


def check_callable(name: str, fun: Any) -> None:
    if not callable(fun):
        raise TypeError(f"[{name}] Expected a function, but received {type(fun).__name__}.")


def array_leaves(name: str, what: str, value: Any) -> list[array]:
    """The leaves of a tree that must contain arrays alone."""
    found = tree.leaves(value)
    if _ARRAYS.issuperset(map(type, found)):
        return found
    for leaf in found:
        if not isinstance(leaf, array):
            raise ValueError(
                f"[{name}] {what} must be an array or a tree of arrays, but it contains "
                f"{type(leaf).__name__} ({leaf!r:.60})."
            )
    return found


def fresh(handle: array) -> Node:
    """The same value under a serial of now, so that a trace can tell what depends on it."""
    node = handle._node
    return Node(_IDENTITY, (node,), node.shape, node.dtype)


def handles(nodes: Sequence[Node]) -> list[array]:
    return [wrap(node) for node in nodes]


def or_zeros(nodes: Sequence[Node | None], like: Sequence[Node]) -> list[Node]:
    return [zeros_like(x) if n is None else n for n, x in zip(nodes, like, strict=True)]


def match(name: str, what: str, given: Any, like: Node, position: int) -> Node:
    """A tangent or cotangent for ``like``: of its shape, cast to its dtype."""
    if not isinstance(given, array):
        raise TypeError(f"[{name}] The {what}s must be arrays, but received {_type(given)}.")
    if given.shape != like.shape:
        raise ValueError(
            f"[{name}] The {what} at {position} has shape {given.shape}, but that of what it "
            f"belongs to is {like.shape}."
        )
    return cast(given._node, like.dtype)


def output_arrays(name: str, fun: Callable[..., Any], result: Any) -> list[array]:
    """What a function for vjp and jvp returned: an array, or a list or tuple of arrays."""
    found = [result] if isinstance(result, array) else result
    if not isinstance(found, (list, tuple)) or not all(isinstance(r, array) for r in found):
        given = _type(result)
        if isinstance(result, (list, tuple)):
            given += " of " + ", ".join(_type(r) for r in result)
        raise ValueError(
            f"[{name}] The function must return an array or a list or tuple of arrays; "
            f"but {getattr(fun, '__name__', 'it')} returned {given}."
        )
    return list(found)


def list_of_arrays(name: str, what: str, value: Any) -> list[array]:
    if isinstance(value, (list, tuple)) and all(isinstance(v, array) for v in value):
        return list(value)
    raise TypeError(f"[{name}] The {what} must be a list of arrays, but received {_type(value)}.")


ArrayArguments = tuple[list[array], dict[str, array]]


def array_arguments(name: str, args: tuple, kwargs: dict[str, Any]) -> ArrayArguments:
    """Positional and keyword arrays (by name): as such, or as one tuple and/or one dictionary."""
    if not kwargs and 1 <= len(args) <= 2 and not any(isinstance(a, array) for a in args):
        kinds = [dict if isinstance(a, dict) else type(a) for a in args]
        if kinds[0] in (list, tuple) and kinds[1:] in ([], [dict]) or kinds == [dict]:
            kwargs = args[-1] if kinds[-1] is dict else {}
            args = () if kinds[0] is dict else tuple(args[0])
    for value in (*args, *kwargs.values()):
        if not isinstance(value, array):
            raise ValueError(
                f"[{name}] Inputs can either be a variable number of positional and keyword "
                "arrays or a single tuple and/or dictionary of arrays, but they contain "
                f"{_type(value)}."
            )
    return list(args), {key: kwargs[key] for key in sorted(kwargs)}


def _type(value: Any) -> str:
    return type(value).__name__
