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
_node_of = operator.attrgetter("_node")
_shape_of = operator.attrgetter("shape")
_dtype_of = operator.attrgetter("dtype.index")


def by_types(
    what: Hashable, arrays: Sequence[array], make: Callable[[Sequence[array]], list[array]]
) -> list[array]:
    """What ``make(arrays)`` returns: new arrays, or some of these.

    It must depend on nothing but ``what`` and the shapes and dtypes of the arrays.  From the
    third meeting on, what it recorded is repeated; where no transformation is open that would
    have to know it, one node stands for all of it.
    """
    nodes = list(map(_node_of, arrays))
    key = (what, *map(_shape_of, nodes), *map(_dtype_of, nodes))
    known: Any = _known.get(key)
    if known is None:
        _known.keep(key, False, len(key) >> 3)
        return make(arrays)
    if known is False:
        known, count = _learned(nodes, make)
        _known.keep(key, known, count + len(key))
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
