"""Trees: nested lists, tuples and dictionaries (modules are dictionaries) with values as leaves."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any


def leaves(tree: Any) -> list[Any]:
    """The leaves in order: what is no list, tuple or dictionary."""
    if not isinstance(tree, _CONTAINERS):
        return [tree]
    out: list[Any] = []
    _collect(tree, out)
    return out


_CONTAINERS = (dict, list, tuple)


def _collect(tree: Any, out: list[Any]) -> None:
    children = tree.values() if isinstance(tree, dict) else tree
    if not any([issubclass(kind, _CONTAINERS) for kind in set(map(type, children))]):
        out += children
        return
    for child in children:
        if isinstance(child, _CONTAINERS):
            _collect(child, out)
        else:
            out.append(child)


def rebuild(tree: Any, values: Iterator[Any]) -> Any:
    """A tree of the same containers with the next ``values`` at the leaves.

    Subclasses of the containers keep their type: a module becomes a copy of it.
    """
    if not isinstance(tree, _CONTAINERS):
        return next(values)
    if isinstance(tree, dict):
        if type(tree) is dict:
            return {key: rebuild(child, values) for key, child in tree.items()}
        result = copy.copy(tree)
        for key, child in tree.items():
            dict.__setitem__(result, key, rebuild(child, values))
        return result
    return _sequence(tree, [rebuild(child, values) for child in tree])


def _sequence(like: list | tuple, values: list[Any]) -> Any:
    kind = type(like)
    if kind is list:
        return values
    return kind(*values) if hasattr(like, "_fields") else kind(values)


def map_leaves(fn: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with ``fn`` applied to each leaf; plain dictionaries in place of modules."""
    if isinstance(tree, dict):
        return {key: map_leaves(fn, child) for key, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        return _sequence(tree, [map_leaves(fn, child) for child in tree])
    return fn(tree)


def fill(tree: Any, values: Iterator[Any]) -> Any:
    """The tree with the next ``values`` at the leaves; plain dictionaries in place of modules."""
    if not isinstance(tree, _CONTAINERS):
        return next(values)
    return map_leaves(lambda _: next(values), tree)


def spread(prefix: Any, tree: Any) -> list[Any]:
    """One value of ``prefix`` for each leaf of ``tree``; a leaf of the prefix serves the whole
    subtree in its place.  Raises ValueError where the prefix has other containers or sizes."""
    if not isinstance(prefix, (dict, list, tuple)):
        return [prefix] * len(leaves(tree))
    if isinstance(prefix, dict):
        if not isinstance(tree, dict) or prefix.keys() != tree.keys():
            raise ValueError(_mismatch(prefix, tree))
        pairs = [(prefix[key], tree[key]) for key in tree]
    else:
        if not isinstance(tree, (list, tuple)) or len(prefix) != len(tree):
            raise ValueError(_mismatch(prefix, tree))
        pairs = list(zip(prefix, tree, strict=True))
    return [value for child, subtree in pairs for value in spread(child, subtree)]


def _mismatch(prefix: Any, tree: Any) -> str:
    return f"{prefix!r} does not fit {outline(tree)}"


def outline(tree: Any) -> str:
    """The containers of a tree in short, for error messages: ``(*, {'a': *})``."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{k!r}: {outline(v)}" for k, v in tree.items()) + "}"
    if isinstance(tree, (list, tuple)):
        inner = ", ".join(outline(v) for v in tree)
        if isinstance(tree, list):
            return f"[{inner}]"
        return f"({inner},)" if len(tree) == 1 else f"({inner})"
    return "*"


def picker(positions: Sequence[int]) -> Callable[[Any], Sequence[Any]]:
    """A fast function that picks the values at these positions out of a sequence."""
    start, count = (positions[0] if positions else 0), len(positions)
    if list(positions) == list(range(start, start + count)):
        return operator.itemgetter(slice(start, start + count))
    return operator.itemgetter(*positions)
