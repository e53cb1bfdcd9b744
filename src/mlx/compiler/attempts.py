"""What planning found out about a region, for others of its kind: which views must be written out.

Each finding costs another attempt.  Regions are of one kind if the same nodes read each other, with
equal views but for sizes; a view that is written out and need not be changes no result.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlx.compiler.uses import is_view
from mlx.graph.node import Node

MOST = 1024
"""Kinds that are kept."""
Found = Sequence[Sequence[int]]
"""Positions of the nodes that are treated specially, for each way to do so."""
_known: dict[int, Found] = {}


class Special:
    """The nodes that an attempt to plan a region treats specially: written out (``solid``); not
    placed where another kernel would like them (``unplaced``); in kernels of their own (``apart``);
    updates that copy their base (``copied``)."""

    def __init__(self, solid: set[Node], nodes: Sequence[Node], found: Found) -> None:
        self.sets: tuple[set[Node], ...] = solid, set(), set(), set()
        self.solid, self.unplaced, self.apart, self.copied = self.sets
        for nodes_of, positions in zip(self.sets, found, strict=False):
            nodes_of.update([nodes[i] for i in positions])

    def add(self, node: Node) -> None:
        """Treat a node that strides can't say more specially than before."""
        is_source = node.primitive is not None and node.primitive.family == "source"
        if (is_source or is_view(node)) and node not in self.solid:
            self.solid.add(node)
        elif node not in self.unplaced:
            self.unplaced.add(node)
        elif node not in self.apart:
            self.apart.add(node)
        else:
            raise AssertionError(f"cannot plan {node}")

    def positions(self, nodes: Sequence[Node]) -> Found:
        """Of these nodes."""
        return tuple([[i for i, n in enumerate(nodes) if n in s] for s in self.sets])


def kind_of(nodes: Sequence[Node], outputs: set[Node]) -> int:
    """A number for the kind of a region."""
    at = {node: i for i, node in enumerate(nodes)}
    said: list[object] = []
    for node in nodes:
        primitive, shape = node.primitive, node.shape
        what = primitive.token if primitive.family == "view" else type(primitive)
        said += (what, len(shape), shape.count(1), node in outputs)
        said += [at.get(source, -1) for source in node.inputs]
    return hash(tuple(said))


def found(kind: int) -> Found:
    """What was found planning a region of this kind."""
    return _known.get(kind, ())


def learn(kind: int, found: Found) -> None:
    """Note what was found."""
    if any(found):
        if len(_known) >= MOST:
            _known.clear()
        _known[kind] = found
