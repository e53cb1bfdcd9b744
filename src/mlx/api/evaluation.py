"""eval and async_eval."""

from __future__ import annotations

import operator
from typing import Any

from mlx.array import array
from mlx.base import tree
from mlx.graph import trace
from mlx.graph.node import Node
from mlx.runtime.evaluate import evaluate


def eval(*args: Any) -> None:  # noqa: A001 (MLX's name)
    """Compute arrays, or all arrays of trees; what is no array is passed over.

    Raises:
        ValueError: an array has no value, because a function is being transformed.
        IndexError, MemoryError: computing failed; the failed arrays raise it again.

    >>> import mlx.core as mx
    >>> x = mx.ones((2,)) + 1
    >>> mx.eval(x, {"loss": x.sum()})
    """
    _compute(args, asynchronous=False)


def async_eval(*args: Any) -> None:
    """As :func:`eval`, without waiting for the result: Python goes on meanwhile.

    An error is raised when a result is used.
    """
    _compute(args, asynchronous=True)


def _compute(args: tuple, asynchronous: bool) -> None:
    nodes = _nodes(args)
    if not nodes:
        return
    if trace.any_open() and trace.active():
        trace.check_readable(nodes)
    evaluate(nodes, asynchronous)


_node_of = operator.attrgetter("_node")
_SEQUENCES = frozenset({list, tuple})
_ARRAYS = {array}


def _nodes(args: Any) -> list[Node]:
    if len(args) == 1:
        tree_ = args[0]
        if type(tree_) is array:
            return [tree_._node]
        if type(tree_) in _SEQUENCES and set(map(type, tree_)) == _ARRAYS:
            return list(map(_node_of, tree_))
    return [leaf._node for leaf in tree.leaves(args) if isinstance(leaf, array)]
