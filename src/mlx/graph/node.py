"""The graph: what an array names.  Nodes are immutable but for their data and their inputs."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from math import prod
from typing import TYPE_CHECKING, Any

from mlx.base.dtype import Dtype

if TYPE_CHECKING:
    from mlx.graph.signatures import Arithmetic
    from mlx.primitives.base import Primitive
else:
    Arithmetic = object

Shape = tuple[int, ...]
_serials = itertools.count(1)
next_serial = _serials.__next__


def reserve_serials(count: int) -> int:
    """The first of ``count`` serials that follow one another."""
    return deque(itertools.islice(_serials, count + 1), 1)[0] - count


class Node(Arithmetic):
    """One recorded operation, or a value.

    Attributes:
        primitive: the operation; None for a node that never had one (a value, a placeholder).
        inputs: the nodes it reads; emptied once it is evaluated and nobody may ask for them.
        shape, dtype: of its result.  A node with several outputs has ``dtype`` None and in
            ``shape`` a tuple of (shape, dtype) pairs; ``Pick`` nodes name the outputs.
        serial: increases with creation, hence a topological order.  Whole but for what another
            node stood for.
        data: the evaluated result (runtime's Buffer), an exception that evaluating raised, or
            None.
    """

    __slots__ = ("__weakref__", "data", "dtype", "inputs", "primitive", "serial", "shape")

    def __init__(
        self,
        primitive: Primitive | None,
        inputs: tuple[Node, ...],
        shape: Any,
        dtype: Dtype | None,
        data: Any = None,
    ) -> None:
        self.primitive: Any = primitive
        self.inputs = inputs
        self.shape = shape
        self.dtype: Any = dtype
        self.data = data
        self.serial: float = next_serial()

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    def __repr__(self) -> str:
        name = "value" if self.primitive is None else repr(self.primitive)
        return f"<{self.serial}: {name} {self.dtype and self.dtype.name}{self.shape}>"


def record(primitive: Primitive, *inputs: Node) -> Node:
    """Apply a primitive: infer the result's type and add a node to the graph."""
    shape, dtype = primitive.infer(*inputs)
    return Node(primitive, inputs, shape, dtype)


def ancestors(roots: Iterable[Node], after: float = 0) -> list[Node]:
    """All unevaluated-or-not nodes that ``roots`` depend on with serial > ``after``,
    roots included, in order of serial (a topological order).  Iterative."""
    seen: set[Node] = set()
    stack = [r for r in roots if r.serial > after]
    seen.update(stack)
    while stack:
        for node in stack.pop().inputs:
            if node.serial > after and node not in seen:
                seen.add(node)
                stack.append(node)
    return sorted(seen, key=lambda n: n.serial)
