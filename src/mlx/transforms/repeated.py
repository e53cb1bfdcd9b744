"""Derivatives and batches of graphs that were met before: recorded again, not worked out again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

from mlx.base.bounded import Bounded
from mlx.base.tree import picker
from mlx.graph.chains import Chain
from mlx.graph.node import Node, ancestors
from mlx.primitives.base import Full, Pick
from mlx.primitives.indexing import SliceAdd
from mlx.primitives.reductions import Broadcast
from mlx.primitives.segment import Repeated
from mlx.primitives.views import Embed, Transpose

LEAST = 32
"""Nodes of a result from which one may stand for them all."""
LONGEST = 1 << 15
"""Nodes of a graph from which none is kept."""
KEPT = 1 << 19
"""Nodes of all graphs and results that are."""
_SEEN_INTO = (Transpose, Embed, SliceAdd)
"""What sums of cotangents look into."""
_known = Bounded(KEPT)


class Transformed:
    """Some results, cotangents or batches, as what is recorded of nodes that were described."""

    def __init__(
        self,
        given: Sequence[Node],
        recorded: Sequence[Node],
        found: Sequence[Node | None],
        least: int = LEAST,
    ) -> None:
        at = {node: i for i, node in enumerate(recorded)}
        results = [node for node in dict.fromkeys(found) if node in at]
        read = {source for node in recorded for source in node.inputs}.union(found)
        used = [i for i, node in enumerate(given) if node in read]
        operands = [given[i] for i in used]
        place = {node: i for i, node in enumerate([*results, *operands])}
        self._used = picker(used)
        self._results = [None if node is None else place[node] for node in found]
        self._chain = Chain(operands, list(recorded), results)
        self._repeated: Repeated | None = None
        if len(recorded) >= least:
            self._repeated = Repeated(self._chain, [len(used) + at[node] for node in results])

    def of(self, given: Sequence[Node], alone: bool) -> list[Node | None]:
        """The results that belong to other nodes described alike."""
        operands = tuple(self._used(given))
        if alone and self._repeated is not None:
            made = self._repeated.segment(operands)
        else:
            made = self._chain.repeat(*operands)
        made += operands
        return [None if at is None else made[at] for at in self._results]


Description = tuple[tuple[Any, ...], list[Node]]
"""What a transformation of a graph depends on, and the nodes that its results may read."""


def of_derivative(
    kind: str,
    outputs: Sequence[Node],
    inputs: Sequence[Node],
    seeds: Sequence[Node | None],
    start: int,
) -> Description | None:
    """A description for derivatives, where rules see types alone, with cotangents of the outputs
    or tangents of the inputs; None where sums would look into one of these."""
    nodes = list(inputs)
    for seed in seeds:
        if seed is not None:
            if type(seed.primitive) in _SEEN_INTO:
                return None
            nodes.append(seed)
    key: list[Any] = [kind, len(inputs), *[one is None for one in seeds]]
    return (tuple(key), nodes) if _describe(outputs, nodes, start, key) else None


def of_batch(
    outputs: Sequence[Node], inputs: Sequence[Node], batched: Sequence[Node], start: int
) -> Description | None:
    """A description for batching; None where rules would look into something older, a broadcast.

    They see numbers, too.
    """
    nodes = [*inputs, *batched]
    key: list[Any] = ["batch", len(inputs)]
    if not _describe(outputs, nodes, start, key):
        return None
    given = set(batched)
    for node in nodes:
        kind = type(node.primitive)
        if kind is Full:
            key += (type(node.primitive.value), repr(node.primitive.value))
        elif kind is Broadcast and (node.serial <= start or node in given or node.data is not None):
            return None
    return tuple(key), nodes


def _describe(outputs: Sequence[Node], nodes: list[Node], start: int, key: list[Any]) -> bool:
    """Walk over what the outputs need, back to ``nodes`` and to what is older than ``start``;
    False where that is too long."""
    for node in nodes:
        key += (node.shape, node.dtype.index)
    index = {node: i for i, node in enumerate(nodes)}
    find, say, add = index.get, key.append, nodes.append
    ends = [Node(None, outputs, None, None)]  # type: ignore[arg-type]
    order = list[Node]()
    inner = order.append
    for node in chain(ends, islice(order, LONGEST)):  # it grows meanwhile
        primitive, inputs, dtype = node.primitive, node.inputs, node.dtype
        if primitive is not None:
            key += (primitive._key_part, node.shape, dtype and dtype.index, len(inputs))
        for source in inputs:
            if (at := find(source)) is None:
                at = index[source] = len(nodes)
                add(source)
                if source.serial > start and source.primitive is not None:
                    inner(source)
                else:
                    key += (-1, source.shape, source.dtype and source.dtype.index)
            say(at)
    return len(order) <= LONGEST


def known(key: Any) -> Any:
    """What was kept for a description, or else whether it was met before and may be kept."""
    try:
        return _known[key]
    except KeyError:
        _known.keep(key, True, len(key) >> 3)
        return False


def repeatable(order: Sequence[Node]) -> bool:
    """Whether the rules of all nodes see types alone."""
    return all([node.primitive.by_types or type(node.primitive) is Pick for node in order])


def learn(key: Any, given: Sequence[Node], found: Sequence[Node | None], start: int) -> None:
    """Keep results that were recorded after ``start``."""
    recorded = ancestors([node for node in found if node is not None], start)
    if (known := transformed(given, recorded, found)) is not None:
        keep(key, known, len(recorded))


def transformed(
    given: Sequence[Node], recorded: Sequence[Node], found: Sequence[Node | None]
) -> Transformed | None:
    """Results as what is recorded of given nodes, or None where it reads others."""
    sources = {source for node in recorded for source in node.inputs}
    return Transformed(given, recorded, found) if sources.issubset({*recorded, *given}) else None


def keep(key: Any, known: Any, nodes: int) -> None:
    """Keep what was found out for a description, which holds so many nodes."""
    _known.keep(key, known, nodes)
