"""Functions that are run twice for the types of their arrays: what they recorded is repeated."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from mlx.api.operands import handles
from mlx.array import array
from mlx.base.bounded import Bounded
from mlx.graph.chains import spelled_out
from mlx.graph.node import Node
from mlx.graph.trace import any_open, takes_wholes
from mlx.runtime import segments
from mlx.transforms.repeated import Transformed

KEPT = 1 << 18
"""Nodes of what is kept."""
_known = Bounded(KEPT)
_ARRAYS = frozenset({array})
_node_of = operator.attrgetter("_node")
_shape_of = operator.attrgetter("shape")
_dtype_of = operator.attrgetter("dtype.index")


def record_once(
    key: Hashable, arrays: Sequence[array], make: Callable[[Sequence[array]], list[array]]
) -> list[array]:
    """What ``make(arrays)`` returns: new arrays, or some of these.

    ``make`` must depend on nothing but the key and the shapes and dtypes of the arrays, and
    compute nothing.  It runs at the first two calls that are alike in these; from then on what it
    recorded is recorded again as a whole, which takes a fraction of the time and becomes part of
    the kernels around it.  (``mx.compile`` asks for no promise, and makes kernels of its own.)

    Args:
        key: says what ``make`` does, with all constants that it uses.
        arrays: what it reads.

    Raises:
        TypeError: what was given are no arrays.

    >>> import mlx.core as mx
    >>> mx.record_once(("scaled", 3.0), [mx.array(2.0)], lambda arrays: [arrays[0] * 3.0])
    [array(6, dtype=float32)]
    """
    if not _ARRAYS.issuperset(map(type, arrays)):
        found = ", ".join([type(one).__name__ for one in arrays])
        raise TypeError(f"[record_once] Expected arrays, but received {found}.")
    nodes = list(map(_node_of, arrays))
    told = (key, *map(_shape_of, nodes), *map(_dtype_of, nodes))
    known: Any = _known.get(told)
    if known is None:
        _known.keep(told, False, len(told) >> 3)
        return make(arrays)
    if known is False:
        known, count = _learned(nodes, make)
        _known.keep(told, known, count + len(told))
    may_stand = not any_open() or takes_wholes()
    found = known.of(nodes, may_stand)
    if may_stand and any_open() and not takes_wholes():  # meanwhile, by another thread
        segments.expand(found)
    return handles(found)


def _learned(
    nodes: Sequence[Node], make: Callable[[Sequence[array]], list[array]]
) -> tuple[Transformed, int]:
    """What is recorded of nodes of such types, and how many nodes that are."""
    given = [Node(None, (), node.shape, node.dtype) for node in nodes]
    start = given[-1].serial
    found = list(map(_node_of, make(handles(given))))
    recorded = spelled_out(found, start)
    return Transformed(given, recorded, found), len(recorded)
