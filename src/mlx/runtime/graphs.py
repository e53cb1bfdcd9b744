"""Graphs that compiled functions recorded, as what is evaluated."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from mlx.graph.node import Node
from mlx.runtime import segments
from mlx.runtime.buffer import Buffer
from mlx.runtime.described import Described, describe

_ALL = 1 << 62
_serial = operator.attrgetter("serial")


def wanted(graph: Any) -> list[Node]:
    """The outputs that are to be computed."""
    return [n for n in graph.outputs if n.data is None and n.primitive is not None]


def region_of(graph: Any) -> Described:
    """What they need."""
    roots = wanted(graph)
    segments.expand(roots)
    region = describe(roots, _ALL, recorded=True)
    assert region.complete
    return region


def replayed(
    graph: Any, region: Described, inputs: Sequence[Node]
) -> tuple[list[Node], list[Node]]:
    """The graph recorded again, of these inputs: what is to be computed, and all outputs."""
    there = dict(zip(graph.inputs, inputs, strict=True))
    for node in sorted(region.order, key=_serial):
        sources = tuple([there.get(source, source) for source in node.inputs])
        there[node] = Node(node.primitive, sources, node.shape, node.dtype)
    return [there[node] for node in wanted(graph)], [there.get(n, n) for n in graph.outputs]


def computed(outputs: Sequence[Node]) -> tuple[Any, ...]:
    """Their data; raises where computing one has failed."""
    for node in outputs:
        if type(node.data) is not Buffer:
            raise node.data.error()
    return tuple([node.data for node in outputs])


def results(graph: Any, inputs: Sequence[Node], buffers: list[Buffer]) -> tuple[Any, ...]:
    """The data of a compiled call: one a result."""
    if graph.results is None:
        return tuple(buffers)
    made = iter(buffers)
    return tuple(
        next(made) if output == "program" else (inputs[at] if output == "input" else at).data
        for output, at in graph.results
    )
