"""Functions over trees: nested lists, tuples and dictionaries with values at the leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Any, overload

__all__ = [
    "tree_flatten",
    "tree_map",
    "tree_map_with_path",
    "tree_merge",
    "tree_reduce",
    "tree_unflatten",
]

IsLeaf = Callable[[Any], bool] | None


def _is_branch(tree: Any, is_leaf: IsLeaf) -> bool:
    return isinstance(tree, (list, tuple, dict)) and not (is_leaf is not None and is_leaf(tree))


def _rebuild(like: list | tuple, values: Iterable[Any]) -> Any:
    """Return the values in a sequence of the type of `like`, a named tuple included."""
    kind = type(like)
    if kind is list:
        return list(values)
    return kind(*values) if hasattr(like, "_fields") else kind(values)


def tree_map(fn: Callable, tree: Any, *rest: Any, is_leaf: IsLeaf = None) -> Any:
    """Apply `fn` to every leaf of `tree` and return a tree of the results.

    The trees in `rest` must contain the structure of `tree` (they may hold more); their values at
    the place of a leaf are passed to `fn` as further arguments. `is_leaf(value)` may declare a
    list, tuple or dictionary a leaf.

    >>> tree_map(lambda x, y: x + y, {"a": 1, "b": [2]}, {"a": 10, "b": [20]})
    {'a': 11, 'b': [22]}
    """
    if is_leaf is None and not rest:
        return _mapped(fn, tree)
    if not _is_branch(tree, is_leaf):
        return fn(tree, *rest)
    if isinstance(tree, dict):
        return {
            key: tree_map(fn, child, *[r[key] for r in rest], is_leaf=is_leaf)
            for key, child in tree.items()
        }
    children = [
        tree_map(fn, child, *[r[i] for r in rest], is_leaf=is_leaf) for i, child in enumerate(tree)
    ]
    return _rebuild(tree, children)


def _mapped(fn: Callable, tree: Any) -> Any:
    """`tree_map` of one tree, which every step of a training loop does again and again."""
    if isinstance(tree, dict):
        return {key: _mapped(fn, child) for key, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        return _rebuild(tree, [_mapped(fn, child) for child in tree])
    return fn(tree)


def tree_map_with_path(
    fn: Callable, tree: Any, *rest: Any, is_leaf: IsLeaf = None, path: Any = None
) -> Any:
    """Like `tree_map`, but call `fn(path, leaf, ...)` with the dotted path of each leaf.

    A given `path` is put in front of all paths.

    >>> tree_map_with_path(lambda path, x: f"{path}={x}", {"a": [1, 2]})
    {'a': ['a.0=1', 'a.1=2']}
    """
    if not _is_branch(tree, is_leaf):
        return fn(path, tree, *rest)

    def descend(key: Any, child: Any) -> Any:
        child_path = f"{path}.{key}" if path else str(key)
        others = (r[key] for r in rest)
        return tree_map_with_path(fn, child, *others, is_leaf=is_leaf, path=child_path)

    if isinstance(tree, dict):
        return {key: descend(key, child) for key, child in tree.items()}
    return _rebuild(tree, (descend(i, child) for i, child in enumerate(tree)))


@overload
def tree_flatten(
    tree: Any,
    prefix: str = "",
    is_leaf: IsLeaf = None,
    destination: list[tuple[str, Any]] | None = None,
) -> list[tuple[str, Any]]: ...


@overload
def tree_flatten(
    tree: Any, prefix: str = "", is_leaf: IsLeaf = None, *, destination: dict[str, Any]
) -> dict[str, Any]: ...


def tree_flatten(
    tree: Any,
    prefix: str = "",
    is_leaf: IsLeaf = None,
    destination: list[tuple[str, Any]] | dict[str, Any] | None = None,
) -> list[tuple[str, Any]] | dict[str, Any]:
    """Return the leaves of `tree` with their dotted paths, as a list of pairs.

    Empty lists, tuples and dictionaries leave no trace. `destination` may be a list or a
    dictionary; the leaves are added to it and it is returned. The first character of `prefix` is
    dropped, so a prefix starts with a dot: ``prefix=".model"``.

    Raises ValueError if `destination` is neither a list nor a dictionary.

    >>> tree_flatten({"a": [1, 2], "b": {"c": 3}})
    [('a.0', 1), ('a.1', 2), ('b.c', 3)]
    """
    if destination is None:
        destination = []
    if isinstance(destination, list):
        add: Callable = lambda path, leaf: destination.append((path, leaf))  # noqa: E731
    elif isinstance(destination, dict):
        add = destination.__setitem__
    else:
        raise ValueError("Destination should be either a list or a dictionary or None")
    _flatten(tree, prefix, is_leaf, add)
    return destination


def _flatten(tree: Any, path: str, is_leaf: IsLeaf, add: Callable[[str, Any], None]) -> None:
    if not _is_branch(tree, is_leaf):
        add(path[1:], tree)
        return
    for key, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
        _flatten(child, f"{path}.{key}", is_leaf, add)


def tree_unflatten(tree: list[tuple[str, Any]] | dict[str, Any]) -> Any:
    """Rebuild a tree from the pairs (or the dictionary) that `tree_flatten` returned.

    Levels whose keys are all integers become lists (a missing index becomes ``{}``), others
    dictionaries.

    >>> tree_unflatten([("a.0", 1), ("a.1", 2), ("b.c", 3)])
    {'a': [1, 2], 'b': {'c': 3}}
    """
    items = list(tree.items()) if isinstance(tree, dict) else list(tree)
    if len(items) == 1 and items[0][0] == "":
        return items[0][1]
    children: dict[str, list[tuple[str, Any]]] = {}
    for path, value in items:
        head, _, rest = path.partition(".")
        children.setdefault(head, []).append((rest, value))
    try:
        order = sorted(children, key=int)
    except ValueError:
        return {key: tree_unflatten(group) for key, group in children.items()}
    result: list[Any] = []
    for key in order:
        result.extend({} for _ in range(int(key) - len(result)))
        result.append(tree_unflatten(children[key]))
    return result


def tree_reduce(fn: Callable, tree: Any, initializer: Any = None, is_leaf: IsLeaf = None) -> Any:
    """Fold `fn(accumulator, leaf)` over the leaves of `tree`.

    Without `initializer` the first leaf starts the fold; a tree without leaves gives None.

    >>> tree_reduce(lambda total, x: total + x, {"a": 1, "b": [2, 3]})
    6
    """
    if not _is_branch(tree, is_leaf):
        return tree if initializer is None else fn(initializer, tree)
    for child in tree.values() if isinstance(tree, dict) else tree:
        initializer = tree_reduce(fn, child, initializer, is_leaf)
    return initializer


def _is_empty(tree: Any) -> bool:
    return tree is None or (isinstance(tree, (list, tuple, dict)) and len(tree) == 0)


def tree_merge(tree_a: Any, tree_b: Any, merge_fn: Callable | None = None) -> Any:
    """Return a tree with the leaves of both trees.

    Where both have a leaf, `merge_fn(leaf_a, leaf_b)` decides. None and empty containers count
    as absent.

    Raises ValueError if both trees have a leaf at one place and there is no `merge_fn`.

    >>> tree_merge({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}
    True
    """
    if _is_empty(tree_b):
        return tree_b if tree_a is None else tree_a
    if _is_empty(tree_a):
        return tree_b
    if isinstance(tree_a, dict) and isinstance(tree_b, dict):
        merged = {
            key: tree_merge(child, tree_b.get(key), merge_fn) for key, child in tree_a.items()
        }
        return merged | {key: child for key, child in tree_b.items() if key not in tree_a}
    if isinstance(tree_a, (list, tuple)) and isinstance(tree_b, (list, tuple)):
        pairs = zip_longest(tree_a, tree_b)
        return _rebuild(tree_a, (tree_merge(a, b, merge_fn) for a, b in pairs))
    if merge_fn is None:
        raise ValueError(
            "Trees contain elements at the same locations but no merge function was provided"
        )
    return merge_fn(tree_a, tree_b)
